//! The way as one table: each stage with its gate, the stage after it, and whether there is a way back.

use crossfade_plan::{
    progress::key_of,
    stage::{Gate, Stage},
};

#[test]
fn the_way() {
    let table: Vec<String> = Stage::ALL
        .into_iter()
        .map(|stage| {
            let gate = stage.gate().map_or("-".to_owned(), |gate| gate.to_string());
            let next = stage.next().map_or("-".to_owned(), |next| next.to_string());
            let back = if stage.can_roll_back() { "back" } else { "forward only" };
            format!("{:16} | {gate:16} | {next:16} | {back}", stage.name())
        })
        .collect();
    assert_eq!(
        table,
        [
            "preflight        | -                | prepare-target   | back",
            "prepare-target   | prepare-target   | dual-write       | back",
            "dual-write       | dual-write       | existing-records | back",
            "existing-records | existing-records | verify           | back",
            "verify           | verify           | cutover          | back",
            "cutover          | cutover          | promote          | back",
            "promote          | promote          | finish           | forward only",
            "finish           | finish           | -                | forward only",
        ]
    );
}

#[test]
fn the_order_of_the_stages_is_the_order_of_the_way() {
    assert!(Stage::ALL.is_sorted());
    assert!(Gate::ALL.is_sorted());
    for (stage, next) in Stage::ALL.into_iter().zip(Stage::ALL.into_iter().skip(1)) {
        assert_eq!(stage.next(), Some(next));
    }
}

#[test]
fn a_gate_is_named_after_the_stage_that_it_opens() {
    for gate in Gate::ALL {
        assert_eq!(gate.opens().gate(), Some(gate));
        assert_eq!(gate.to_string(), gate.opens().name());
        assert_eq!(gate.to_string().parse(), Ok(gate));
        assert_eq!(serde_json::to_value(gate).unwrap(), gate.to_string());
        assert_eq!(serde_json::to_value(gate.opens()).unwrap(), gate.to_string());
    }
}

#[test]
fn what_is_no_gate_is_told_with_the_gates_there_are() {
    for name in ["", "preflight", "Cutover", "cut-over", " cutover"] {
        let error = name.parse::<Gate>().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("unknown gate `{name}`; the gates are ")),
            "{error}"
        );
        for gate in Gate::ALL {
            assert!(error.contains(&gate.to_string()), "{error}");
        }
    }
    assert!("x".repeat(10_000).parse::<Gate>().unwrap_err().to_string().len() < 300);
}

#[test]
fn a_migrations_key_fits_into_a_file_name_and_tells_runs_apart() {
    let run = "0198c3a2-77aa-7bbb-8ccc-1234567890ab";
    for (id, key) in [
        ("move", "move.0198c3a2"),
        ("../../etc/passwd", "------etc-passwd.0198c3a2"),
        ("", "0198c3a2"),
        ("a b/c:d", "a-b-c-d.0198c3a2"),
        ("Ümzug", "-mzug.0198c3a2"),
    ] {
        assert_eq!(key_of(id, run), key);
    }
    let longest = key_of(&"x".repeat(1000), run);
    assert_eq!(longest.len(), 64 + 1 + 8);
    assert_ne!(
        key_of("move", run),
        key_of("move", "0298c3a2-77aa-7bbb-8ccc-1234567890ab")
    );
}
