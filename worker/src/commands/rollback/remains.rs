//! What files cannot give back: other machines, and records that only the target has.

use std::collections::BTreeSet;

use crossfade_config::WritingMode;
use crossfade_plan::{
    problem::Problem,
    spec::{Host, Restart},
};

use crate::work::{
    config_files::ConfigFile,
    host_files,
    kept_orders::{self, KeptOrder, folder_of},
};

/// What a promoted host's config is kept as.
const PROMOTED: &str = "promoted.yaml";

/// What is left to be done after going back, in words with the commands that do it.
///
/// # Errors
/// A file cannot be read, or what is needed later cannot be kept.
pub(super) async fn of(orders: &[KeptOrder]) -> Result<Vec<String>, Problem> {
    let mut rest = Vec::new();
    let Some(first) = orders.first() else { return Ok(rest) };
    let context = &first.context;
    let here: BTreeSet<&str> = orders.iter().map(|kept| kept.host.name.as_str()).collect();
    for host in context.spec.hosts_in_order().into_iter().rev() {
        if !here.contains(host.name.as_str()) {
            rest.push(format!(
                "on host {}: `crossfade rollback --from-files --config {}{} --migration {} --yes`, unless no file of it was changed",
                host.name,
                host.config,
                in_namespace(host),
                context.key
            ));
        }
    }
    let source = context.source.clone().unwrap_or_default();
    for kept in orders {
        let file = host_files::read_static(&kept.host).await?;
        let is_promoted = file
            .config
            .visibility_store()
            .is_some_and(|store| store.value != source);
        let mode = host_files::dynamic_now(&context.spec, &kept.host).await?.mode;
        let is_warm = host_files::is_swapped(context, &file.config) && mode == Some(WritingMode::Dual);
        if !is_promoted || context.indices.is_some() || is_warm {
            continue;
        }
        rest.push(brought_over(kept, &file.content.bytes, &source).await?);
        break;
    }
    Ok(rest)
}

fn in_namespace(host: &Host) -> String {
    match &host.restart {
        Restart::Kubernetes(workloads) => format!(" --kube-namespace {}", workloads.namespace),
        Restart::Command(_) | Restart::Systemd(_) | Restart::Compose(_) => String::new(),
    }
}

/// Since its host was promoted, the target alone has what that wrote. A plain copy would bring back what is deleted.
async fn brought_over(kept: &KeptOrder, promoted: &[u8], source: &str) -> Result<String, Problem> {
    let context = &kept.context;
    let (first, from, to) = match ConfigFile::of(&kept.host)? {
        ConfigFile::OnDisk(path) => {
            let place = folder_of(&path).join(&context.key).join(PROMOTED);
            kept_orders::write_beside(&place, promoted)?;
            (String::new(), place.display().to_string(), path.display().to_string())
        }
        ConfigFile::InKubernetes(cluster, key) => {
            let place = kept_orders::note_beside(&cluster, &key, &context.key, PROMOTED, promoted).await?;
            let restored = "restored.yaml";
            let first = format!(
                "`{} > {PROMOTED}`, `{} > {restored}`, then ",
                place.printed_by(&cluster),
                key.printed_by(&cluster)
            );
            (first, PROMOTED.to_owned(), restored.to_owned())
        }
    };
    let (target, frontend) = (&context.spec.target.name, &context.spec.cluster.frontend);
    Ok(format!(
        "bring over what only the target has: {first}`crossfade diff --from '{from}#{target}' --to '{to}#{source}' --truth \
         {frontend} --repair` (with status 3 what it still names is right where it is)"
    ))
}
