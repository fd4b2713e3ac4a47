//! Whether a spec says where the hosts' files are in the way that fits how each host is restarted.

use std::collections::BTreeMap;

use super::{Host, Restart, Spec};

/// Every mistake, with its field.
pub(super) fn mistakes(spec: &Spec) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut configs = BTreeMap::new();
    for (index, host) in spec.cluster.hosts.iter().enumerate() {
        let field = |name: &str| format!("cluster.hosts[{index}].{name}");
        if let Some(message) = not_a_place(host, &host.config) {
            found.push((field("config"), message));
        }
        let of_host = host.dynamic_config.is_some();
        let dynamic = if of_host {
            field("dynamic_config")
        } else {
            "cluster.dynamic_config".to_owned()
        };
        match spec.dynamic_config_of(host) {
            Some(path) => found.extend(not_a_place(host, path).map(|message| (dynamic, message))),
            None if matches!(host.restart, Restart::Kubernetes(_)) => found.push((
                dynamic,
                format!(
                    "missing: host `{}` is in Kubernetes, where it is written configmap/NAME/KEY or secret/NAME/KEY",
                    host.name
                ),
            )),
            None => {}
        }
        let Restart::Kubernetes(pods) = &host.restart else {
            continue;
        };
        for (at, workload) in pods.workloads.iter().enumerate() {
            let fits = matches!(workload.split_once('/'), Some(("deployment" | "statefulset", name)) if !name.is_empty() && !name.contains('/'));
            if !fits {
                found.push((
                    field(&format!("restart.kubernetes.workloads[{at}]")),
                    format!("`{workload}` is neither deployment/NAME nor statefulset/NAME"),
                ));
            }
        }
        let of_cluster = (&pods.kubeconfig, &pods.context, &pods.namespace, &host.config);
        if let Some(other) = configs.insert(of_cluster, &host.name) {
            found.push((
                field("config"),
                format!(
                    "`{}` is host `{other}`'s as well, so that both would change at once; make them one host with the workloads of \
                     both",
                    host.config
                ),
            ));
        }
    }
    found.dedup();
    found
}

/// What is wrong with the place of a host's file.
fn not_a_place(host: &Host, path: &str) -> Option<String> {
    if !matches!(host.restart, Restart::Kubernetes(_)) {
        return (!path.starts_with('/')).then(|| format!("`{path}` is not an absolute path"));
    }
    let parts: Vec<&str> = path.split('/').collect();
    let fits = matches!(parts[..], ["configmap" | "secret", name, key] if !name.is_empty() && !key.is_empty());
    (!fits).then(|| {
        format!("`{path}` is neither configmap/NAME/KEY nor secret/NAME/KEY, as files in Kubernetes are named")
    })
}
