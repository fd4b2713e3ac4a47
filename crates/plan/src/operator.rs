//! What a message from an operator does to a migration: one function for signals, updates and validators.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    message::{Approval, Rejected, Remark, SetRate, Side, names},
    progress::{BackOrder, Condition, Outcome, Progress},
    stage::Gate,
};

/// Takes a message, or says why not. Either way it is in the audit log afterwards.
///
/// # Errors
/// Why the message changes nothing: malformed, out of place, or the run is over.
pub fn take(progress: &mut Progress, name: &str, input: Option<&Value>, at: Timestamp) -> Result<String, Rejected> {
    let answer = apply(progress, name, input);
    match &answer {
        Ok(entry) => progress.note(at, name, true, entry.clone()),
        Err(Rejected(why)) => progress.note(at, name, false, why.clone()),
    }
    answer
}

/// Records a message that could not even be decoded.
pub fn refuse(progress: &mut Progress, name: &str, why: String, at: Timestamp) -> Rejected {
    progress.note(at, name, false, why.clone());
    Rejected(why)
}

/// What `take` would answer, changing nothing.
///
/// # Errors
/// As [`take`].
pub fn validate(progress: &Progress, name: &str, input: Option<&Value>) -> Result<String, Rejected> {
    apply(&mut progress.clone(), name, input)
}

fn apply(progress: &mut Progress, name: &str, input: Option<&Value>) -> Result<String, Rejected> {
    if progress.has_ended() {
        return Err(Rejected("the migration is over".to_owned()));
    }
    match name {
        names::APPROVE => approve(progress, Approval::from_json(input)?),
        names::PAUSE => {
            let remark = Remark::from_json(input)?;
            if progress.paused.is_some() {
                return Ok("it was paused already".to_owned());
            }
            let entry = format!("paused ({remark})");
            progress.paused = Some(remark);
            Ok(entry)
        }
        names::RESUME => resume(progress, &Remark::from_json(input)?),
        names::SKIP_WAIT => {
            let remark = Remark::from_json(input)?;
            if progress.wait_over {
                return Err(Rejected("the Retention wait is over already".to_owned()));
            }
            progress.skip_wait = true;
            Ok(format!(
                "the Retention wait is skipped; verify will copy what is missing ({remark})"
            ))
        }
        names::ROLLBACK => go_back(progress, Outcome::RolledBack, Remark::from_json(input)?),
        names::ABORT => go_back(progress, Outcome::Aborted, Remark::from_json(input)?),
        names::FINISH => finish(progress, &Remark::from_json(input)?),
        names::SET_RATE => {
            let rate = SetRate::from_json(input)?;
            Ok(set_rate(progress, rate))
        }
        other => Err(Rejected(format!(
            "unknown message `{other}`; there are {}",
            names::ALL.join(", ")
        ))),
    }
}

fn finish(progress: &mut Progress, remark: &Remark) -> Result<String, Rejected> {
    if progress.spec.promote.keep_warm.is_none() {
        return Err(Rejected(
            "this migration does not keep the source written after promote (`promote.keep_warm`): there is nothing to end"
                .to_owned(),
        ));
    }
    if progress.warm.over {
        return Err(Rejected("the source is not kept written any more".to_owned()));
    }
    if progress.back.is_some() {
        return Err(Rejected("it is going back".to_owned()));
    }
    if progress.guard.failing_while_kept() == Some(Side::Target) {
        return Err(Rejected(
            "writes to the target fail: to leave the source now would leave the cluster with a store that takes no writes; \
             put the target right first, or `rollback`"
                .to_owned(),
        ));
    }
    progress.warm.finish = true;
    // Where somebody is asked what is to become of a source that fails, this is the answer.
    progress.try_again |= progress.guard.lost && is_stuck(progress);
    Ok(format!(
        "the source is left as soon as the target is the primary ({remark})"
    ))
}

fn set_rate(progress: &mut Progress, rate: SetRate) -> String {
    let what = match rate.store {
        Side::Target => {
            progress.records_per_second = rate.records_per_second;
            "the rate"
        }
        Side::Source => {
            progress.throttle.source_records_per_second = rate.records_per_second;
            "the rate of reading the source"
        }
    };
    let mut entry = rate.records_per_second.map_or_else(
        || format!("{what} is unlimited now"),
        |rate| format!("{what} is {rate} records a second now"),
    );
    if let Some(automatic) = rate.automatic {
        progress.throttle.off = !automatic;
        entry.push_str(match automatic {
            true => ", and less under pressure",
            false => ", whatever the pressure on the stores",
        });
    }
    entry
}

fn approve(progress: &mut Progress, approval: Approval) -> Result<String, Rejected> {
    let gate = approval.gate;
    // Accepting drift is a wish of its own: it is heard where there is no such gate too.
    if !progress.spec.gates.contains(&gate) && approval.accept_drift.is_empty() {
        let gates: Vec<String> = progress.spec.gates.iter().map(Gate::to_string).collect();
        return Err(Rejected(format!(
            "this migration has no gate `{gate}`; it has {}",
            gates.join(", ")
        )));
    }
    let by = approval.by.as_deref().unwrap_or("someone").to_owned();
    let new_classes: Vec<String> = approval
        .accept_drift
        .difference(&progress.accepted_drift)
        .map(ToString::to_string)
        .collect();
    if !new_classes.is_empty() {
        progress.accepted_drift.extend(approval.accept_drift.iter().copied());
        progress.approvals.insert(gate, approval);
        progress.try_again = is_stuck(progress);
        return Ok(format!(
            "`{gate}` approved by {by}, accepting drift: {}",
            new_classes.join(", ")
        ));
    }
    if progress.approvals.contains_key(&gate) {
        return Ok(format!("`{gate}` was approved already"));
    }
    let ahead = gate.opens() > progress.stage;
    progress.approvals.insert(gate, approval);
    Ok(
        if ahead && progress.condition != (Condition::AwaitingApproval { gate }) {
            format!("`{gate}` approved by {by}, ahead of time: it counts when the gate is reached")
        } else {
            format!("`{gate}` approved by {by}")
        },
    )
}

fn is_stuck(progress: &Progress) -> bool {
    matches!(progress.condition, Condition::NeedsOperator { .. })
}

fn resume(progress: &mut Progress, remark: &Remark) -> Result<String, Rejected> {
    let stuck = is_stuck(progress);
    if progress.paused.is_none() && !stuck {
        return Err(Rejected("it is not paused and waits for no correction".to_owned()));
    }
    progress.paused = None;
    progress.try_again = stuck;
    Ok(format!("resumed ({remark})"))
}

fn go_back(progress: &mut Progress, ends: Outcome, remark: Remark) -> Result<String, Rejected> {
    if !progress.can_roll_back() {
        return Err(Rejected(
            "the point of no return has passed: a host may already write to the target alone; the way is forward \
             (see `status` for what it needs)"
                .to_owned(),
        ));
    }
    if progress.back.is_some() {
        return Ok("it is going back already".to_owned());
    }
    let word = if ends == Outcome::Aborted { "abort" } else { "rollback" };
    let mut entry = format!("{word} ordered ({remark})");
    if progress.guard.failing_while_kept() == Some(Side::Source) {
        entry.push_str("; writes to the source fail: the way back ends when it takes them and nothing is given up");
    }
    progress.back = Some(BackOrder { ends, remark });
    Ok(entry)
}
