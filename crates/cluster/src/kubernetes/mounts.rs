//! What the containers of a workload have of a ConfigMap or Secret, by the workload's template; and who else looks after it.

use k8s_openapi::api::core::v1::{KeyToPath, PodSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{ConfigKey, Kubernetes, KubernetesError, Workload};

/// How a container sees a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The workload that makes it.
    pub workload: Workload,
    /// The container's name.
    pub container: String,
    /// The path of the file in it.
    pub at: String,
    /// Whether it is mounted by `subPath`, so that a new content is seen by a new pod only.
    pub alone: bool,
}

/// A Helm release that an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helm {
    /// The release.
    pub release: String,
    /// The chart and its version, such as `temporal-1.0.0`, where the object says so.
    pub chart: Option<String>,
}

impl Kubernetes {
    /// How each container of each workload sees a key, and the workloads of which none does.
    ///
    /// # Errors
    /// A workload cannot be read.
    pub async fn seen(&self, key: &ConfigKey) -> Result<(Vec<Seen>, Vec<Workload>), KubernetesError> {
        let client = self.client().await?;
        let (mut seen, mut blind) = (Vec::new(), Vec::new());
        for workload in &self.workloads {
            let found = by_containers(workload, &self.state(&client, workload).await?.pods, key);
            if found.is_empty() {
                blind.push(workload.clone());
            }
            seen.extend(found);
        }
        Ok((seen, blind))
    }
}

fn by_containers(workload: &Workload, pods: &PodSpec, key: &ConfigKey) -> Vec<Seen> {
    let volumes: Vec<(&str, Vec<String>)> = pods
        .volumes
        .iter()
        .flatten()
        .map(|volume| (volume.name.as_str(), files(volume, key)))
        .filter(|(_, files)| !files.is_empty())
        .collect();
    let mut seen = Vec::new();
    for container in &pods.containers {
        for mount in container.volume_mounts.iter().flatten() {
            let files = volumes
                .iter()
                .filter(|(name, _)| *name == mount.name)
                .flat_map(|(_, files)| files);
            for file in files {
                let folder = mount.mount_path.trim_end_matches('/');
                let sub_path = mount.sub_path.as_deref().or(mount.sub_path_expr.as_deref());
                let at = match sub_path
                    .map(|path| path.trim_matches('/'))
                    .filter(|path| !path.is_empty())
                {
                    None => format!("{folder}/{file}"),
                    Some(path) if path == file => folder.to_owned(),
                    Some(path) => match file.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')) {
                        Some(rest) => format!("{folder}/{rest}"),
                        None => continue,
                    },
                };
                seen.push(Seen {
                    workload: workload.clone(),
                    container: container.name.clone(),
                    at,
                    alone: sub_path.is_some(),
                });
            }
        }
    }
    seen
}

/// Under which names a volume has the key: several where it is projected more than once.
fn files(volume: &Volume, key: &ConfigKey) -> Vec<String> {
    let named = |name: Option<&str>, is_secret: bool, items: Option<&Vec<KeyToPath>>| {
        if name != Some(key.name.as_str()) || is_secret != key.is_secret {
            return Vec::new();
        }
        match items {
            None => vec![key.key.clone()],
            Some(items) => {
                let of_key = items.iter().filter(|item| item.key == key.key);
                of_key.map(|item| item.path.clone()).collect()
            }
        }
    };
    let mut files = Vec::new();
    if let Some(source) = &volume.config_map {
        files.extend(named(Some(&source.name), false, source.items.as_ref()));
    }
    if let Some(source) = &volume.secret {
        files.extend(named(source.secret_name.as_deref(), true, source.items.as_ref()));
    }
    let sources = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    for source in sources {
        if let Some(source) = &source.config_map {
            files.extend(named(Some(&source.name), false, source.items.as_ref()));
        }
        if let Some(source) = &source.secret {
            files.extend(named(Some(&source.name), true, source.items.as_ref()));
        }
    }
    files
}

/// The release that an object belongs to: Helm marks what it makes (helm.sh/docs/chart_best_practices/labels).
pub(crate) fn helm(metadata: &ObjectMeta) -> Option<Helm> {
    let label = |name: &str| metadata.labels.as_ref().and_then(|labels| labels.get(name));
    let release = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get("meta.helm.sh/release-name"));
    let is_helms = label("app.kubernetes.io/managed-by").is_some_and(|by| by == "Helm");
    if release.is_none() && !is_helms {
        return None;
    }
    let release = release.or_else(|| label("app.kubernetes.io/instance"));
    Some(Helm {
        release: release.cloned().unwrap_or_else(|| "unknown".to_owned()),
        chart: label("helm.sh/chart").cloned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn seen(volume: Value, mount: Value) -> Vec<(String, bool)> {
        let pods = json!({
            "volumes": [volume],
            "containers": [{"name": "temporal", "volumeMounts": [mount]}],
        });
        let pods: PodSpec = serde_json::from_value(pods).expect("a pod");
        let key: ConfigKey = "configmap/config/p.yaml".parse().expect("a key");
        let workload = "deployment/history".parse().expect("a workload");
        by_containers(&workload, &pods, &key)
            .into_iter()
            .map(|seen| (seen.at, seen.alone))
            .collect()
    }

    #[test]
    fn a_key_is_seen_where_it_is_mounted() {
        let whole = json!({"name": "v", "configMap": {"name": "config"}});
        let renamed =
            json!({"name": "v", "configMap": {"name": "config", "items": [{"key": "p.yaml", "path": "a/b.yaml"}]}});
        let projected = json!({"name": "v", "projected": {"sources": [{"configMap": {"name": "config"}}, {"secret": {"name": "s"}}]}});
        let at = |at: &str, alone| vec![(at.to_owned(), alone)];
        let mount = |path: &str| json!({"name": "v", "mountPath": path});
        assert_eq!(seen(whole.clone(), mount("/etc/t")), at("/etc/t/p.yaml", false));
        assert_eq!(seen(whole.clone(), mount("/etc/t/")), at("/etc/t/p.yaml", false));
        assert_eq!(seen(projected, mount("/etc/t")), at("/etc/t/p.yaml", false));
        assert_eq!(seen(renamed.clone(), mount("/etc/t")), at("/etc/t/a/b.yaml", false));
        let by = |path: &str| json!({"name": "v", "mountPath": "/etc/t/x", "subPath": path});
        assert_eq!(seen(whole.clone(), by("p.yaml")), at("/etc/t/x", true));
        assert_eq!(seen(renamed, by("a")), at("/etc/t/x/b.yaml", true));
        assert_eq!(seen(whole.clone(), by("other.yaml")), []);
        assert_eq!(seen(whole, json!({"name": "w", "mountPath": "/etc/t"})), []);
        let of_another = json!({"name": "v", "secret": {"secretName": "config"}});
        assert_eq!(
            seen(of_another, mount("/etc/t")),
            [],
            "a Secret of the same name is another object"
        );
    }

    #[test]
    fn what_helm_made_is_known_by_its_marks() {
        let marks = |fields: &[(&str, &str)]| -> Option<BTreeMap<String, String>> {
            Some(
                fields
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            )
        };
        let made = ObjectMeta {
            labels: marks(&[
                ("app.kubernetes.io/managed-by", "Helm"),
                ("helm.sh/chart", "temporal-1.0.0"),
            ]),
            annotations: marks(&[("meta.helm.sh/release-name", "prod")]),
            ..ObjectMeta::default()
        };
        let known = helm(&made).expect("Helm's");
        assert_eq!(
            (known.release.as_str(), known.chart.as_deref()),
            ("prod", Some("temporal-1.0.0"))
        );
        let other = ObjectMeta {
            labels: marks(&[("app.kubernetes.io/managed-by", "crossfade")]),
            ..ObjectMeta::default()
        };
        assert_eq!(helm(&other), None);
    }
}
