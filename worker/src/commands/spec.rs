//! `crossfade spec`: print, explain or check a spec.

use crossfade_plan::{spec, stage::Gate};
use serde_json::json;

use crate::{
    cli::{Global, Spec},
    exit::{Exit, Outcome},
    render,
    spec_file::SpecFile,
};

/// The example with comments. A test holds it equal to `crossfade_plan::spec::example`.
const EXAMPLE: &str = include_str!("example.yaml");

pub(super) fn run(global: &Global, command: &Spec) -> Outcome {
    match command {
        Spec::Schema => render::text(format!("{:#}", spec::schema())),
        Spec::Example { yaml: true } if !global.json => render::text(EXAMPLE.trim_end()),
        Spec::Example { .. } => render::text(format!("{:#}", spec::example())),
        Spec::Check { file } => {
            let read = SpecFile::read(file)?;
            if global.json {
                render::json(&json!({ "valid": true, "spec": read.spec }));
            } else {
                render::text(summary(&read.spec));
            }
        }
        Spec::Json { file } => render::json(&SpecFile::read(file)?.json),
    }
    Ok(Exit::Done)
}

/// What a good spec asks for, in a few lines.
fn summary(spec: &spec::Spec) -> String {
    let hosts: Vec<&str> = spec.hosts_in_order().iter().map(|host| host.name.as_str()).collect();
    let gates: Vec<String> = spec.gates.iter().map(Gate::to_string).collect();
    let gates = if gates.is_empty() {
        "none: it runs through".to_owned()
    } else {
        gates.join(", ")
    };
    format!(
        "good: the cluster at {} moves to `{}`\n  hosts in the order of restarts: {}\n  gates: {gates}\n\
         Next step: `crossfade plan FILE` shows exactly what it would do",
        spec.cluster.frontend,
        spec.target.name,
        hosts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_for_people_is_the_published_one() {
        let yaml: serde_json::Value = yaml_serde::from_str(EXAMPLE).expect("the example is YAML");
        assert_eq!(yaml, spec::example());
        assert!(spec::Spec::from_json(&yaml).is_ok());
    }
}
