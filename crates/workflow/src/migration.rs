//! The workflow: its input, its messages and queries, and the walk through the stages.

#![allow(
    missing_docs,
    reason = "the macro's marker constants carry no documentation of their own"
)]

use crossfade_plan::{
    message::Rejected,
    operator,
    plan::Plan,
    problem::{Code, Problem},
    progress::{self, AuditEntry, Condition, Outcome, Progress, StageTiming, Status},
    report::Report,
    spec::Spec,
    stage::Stage,
};
use jiff::Timestamp;
use serde_json::Value;
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    MemoValue, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::{
    control::{self, Ctx, Halt, change, read},
    failure, guard, input,
    names::{self, failure as failure_type, message, query},
    rollback, stages,
};

/// Moves a cluster's Visibility store while the cluster serves traffic.
#[workflow]
pub struct VisibilityMigration {
    /// Where the migration stands; the one truth, also the continue-as-new input.
    pub(crate) progress: Progress,
    /// Why the input is no spec, if it is none.
    refused: Vec<Problem>,
    /// What stages and guard tell each other; of this run alone.
    pub(crate) beside: guard::Beside,
}

/// The memo field that holds the stage.
const MEMO_STAGE: &str = "stage";

type Validation = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[workflow_methods]
impl VisibilityMigration {
    #[init]
    fn new(ctx: &WorkflowContextView, raw: RawValue) -> Self {
        let now = control::timestamp(ctx.start_time());
        let key = progress::key_of(ctx.workflow_id(), ctx.first_execution_run_id());
        let fresh = |spec: Spec| Progress::new(ctx.workflow_id().to_owned(), key.clone(), spec, now);
        match input::start_of(&raw) {
            Ok(input::Start::Fresh(spec)) => Self {
                progress: fresh(*spec),
                refused: Vec::new(),
                beside: guard::Beside::default(),
            },
            Ok(input::Start::Continued(progress)) => Self {
                progress: *progress,
                refused: Vec::new(),
                beside: guard::Beside::default(),
            },
            Err(refused) => Self {
                progress: fresh(Spec::unread()),
                refused,
                beside: guard::Beside::default(),
            },
        }
    }

    /// The whole migration; answers with its report.
    #[run(name = names::WORKFLOW_TYPE)]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Report> {
        let refused = ctx.state(|state| state.refused.clone());
        if !refused.is_empty() {
            change(ctx, |progress| {
                progress.condition = Condition::Ended {
                    result: Outcome::Refused,
                }
            });
            return Err(failure::fail(failure_type::INVALID_INPUT, &refused));
        }
        match guard::beside(ctx, walk(ctx)).await {
            Ok(()) => Ok(end(ctx, Outcome::Migrated)),
            Err(Halt::Long) => Err(control::continue_as_new(ctx)),
            Err(Halt::Problems(problems)) => {
                end(ctx, Outcome::Refused);
                Err(failure::fail(failure_type::REFUSED, &problems))
            }
            // A gap is mended within the walk.
            Err(Halt::Back | Halt::Gap) => back(ctx).await,
        }
    }

    #[signal(name = message::APPROVE)]
    fn approve(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        self.take(message::APPROVE, ctx.workflow_time(), &raw).ok();
    }

    #[signal(name = message::PAUSE)]
    fn pause(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        self.take(message::PAUSE, ctx.workflow_time(), &raw).ok();
    }

    #[signal(name = message::RESUME)]
    fn resume(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        self.take(message::RESUME, ctx.workflow_time(), &raw).ok();
    }

    #[signal(name = message::SKIP_WAIT)]
    fn skip_wait(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        self.take(message::SKIP_WAIT, ctx.workflow_time(), &raw).ok();
    }

    #[signal(name = message::ROLLBACK)]
    fn roll_back(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        self.take(message::ROLLBACK, ctx.workflow_time(), &raw).ok();
    }

    #[signal(name = message::ABORT)]
    fn abort(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        self.take(message::ABORT, ctx.workflow_time(), &raw).ok();
    }

    #[signal(name = message::FINISH)]
    fn leave_source(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        self.take(message::FINISH, ctx.workflow_time(), &raw).ok();
    }

    #[signal(name = message::SET_RATE)]
    fn set_rate(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        self.take(message::SET_RATE, ctx.workflow_time(), &raw).ok();
    }

    #[update_validator(approve_update)]
    fn may_approve(&self, _ctx: &WorkflowContextView, raw: &RawValue) -> Validation {
        self.validate(message::APPROVE, raw)
    }

    #[update(name = message::APPROVE)]
    fn approve_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) -> String {
        self.answer(message::APPROVE, ctx.workflow_time(), &raw)
    }

    #[update_validator(pause_update)]
    fn may_pause(&self, _ctx: &WorkflowContextView, raw: &RawValue) -> Validation {
        self.validate(message::PAUSE, raw)
    }

    #[update(name = message::PAUSE)]
    fn pause_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) -> String {
        self.answer(message::PAUSE, ctx.workflow_time(), &raw)
    }

    #[update_validator(resume_update)]
    fn may_resume(&self, _ctx: &WorkflowContextView, raw: &RawValue) -> Validation {
        self.validate(message::RESUME, raw)
    }

    #[update(name = message::RESUME)]
    fn resume_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) -> String {
        self.answer(message::RESUME, ctx.workflow_time(), &raw)
    }

    #[update_validator(skip_wait_update)]
    fn may_skip_wait(&self, _ctx: &WorkflowContextView, raw: &RawValue) -> Validation {
        self.validate(message::SKIP_WAIT, raw)
    }

    #[update(name = message::SKIP_WAIT)]
    fn skip_wait_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) -> String {
        self.answer(message::SKIP_WAIT, ctx.workflow_time(), &raw)
    }

    #[update_validator(roll_back_update)]
    fn may_roll_back(&self, _ctx: &WorkflowContextView, raw: &RawValue) -> Validation {
        self.validate(message::ROLLBACK, raw)
    }

    #[update(name = message::ROLLBACK)]
    fn roll_back_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) -> String {
        self.answer(message::ROLLBACK, ctx.workflow_time(), &raw)
    }

    #[update_validator(abort_update)]
    fn may_abort(&self, _ctx: &WorkflowContextView, raw: &RawValue) -> Validation {
        self.validate(message::ABORT, raw)
    }

    #[update(name = message::ABORT)]
    fn abort_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) -> String {
        self.answer(message::ABORT, ctx.workflow_time(), &raw)
    }

    #[update_validator(leave_source_update)]
    fn may_leave_source(&self, _ctx: &WorkflowContextView, raw: &RawValue) -> Validation {
        self.validate(message::FINISH, raw)
    }

    #[update(name = message::FINISH)]
    fn leave_source_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) -> String {
        self.answer(message::FINISH, ctx.workflow_time(), &raw)
    }

    #[update_validator(set_rate_update)]
    fn may_set_rate(&self, _ctx: &WorkflowContextView, raw: &RawValue) -> Validation {
        self.validate(message::SET_RATE, raw)
    }

    #[update(name = message::SET_RATE)]
    fn set_rate_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, raw: RawValue) -> String {
        self.answer(message::SET_RATE, ctx.workflow_time(), &raw)
    }

    #[query(name = query::STATUS)]
    fn status(&self, _ctx: &WorkflowContextView, _raw: RawValue) -> Status {
        Status::of(&self.progress)
    }

    #[query(name = query::PLAN)]
    fn plan(&self, _ctx: &WorkflowContextView, _raw: RawValue) -> Option<Plan> {
        self.progress.plan.clone()
    }

    #[query(name = query::AUDIT)]
    fn audit(&self, _ctx: &WorkflowContextView, _raw: RawValue) -> Vec<AuditEntry> {
        self.progress.audit.clone()
    }

    #[query(name = query::REPORT)]
    fn report(&self, _ctx: &WorkflowContextView, _raw: RawValue) -> Report {
        Report::of(&self.progress)
    }
}

impl VisibilityMigration {
    /// Takes a message; what cannot be read is in the audit log and changes nothing.
    fn take(&mut self, name: &str, time: Option<std::time::SystemTime>, raw: &RawValue) -> Result<String, Rejected> {
        let at = control::timestamp(time);
        match input::json_of(raw) {
            Ok(value) => operator::take(&mut self.progress, name, value.as_ref(), at),
            Err(why) => Err(operator::refuse(&mut self.progress, name, why, at)),
        }
    }

    fn validate(&self, name: &str, raw: &RawValue) -> Validation {
        let value: Option<Value> = input::json_of(raw)?;
        operator::validate(&self.progress, name, value.as_ref())?;
        Ok(())
    }

    /// An update's answer; the validator has let it in, so it is taken.
    fn answer(&mut self, name: &str, time: Option<std::time::SystemTime>, raw: &RawValue) -> String {
        self.take(name, time, raw).unwrap_or_else(|Rejected(why)| why)
    }
}

/// From the current stage to the end. A problem before anything was changed refuses the migration; later it
/// is the operator's, who corrects it and says `resume`, or turns back.
async fn walk(ctx: &Ctx) -> Result<(), Halt> {
    loop {
        if read(ctx, |progress| progress.guard.gap.is_some()) {
            guard::mend(ctx).await?;
        }
        let stage = read(ctx, |progress| progress.stage);
        match pass_through(ctx, stage).await {
            Ok(()) => {}
            // A stage that meets a target that is gone has problems of its own with it.
            Err(Halt::Gap) => continue,
            Err(Halt::Problems(_)) if read(ctx, |progress| progress.guard.interrupts()) => continue,
            Err(Halt::Problems(problems)) if stage > Stage::Preflight => {
                match control::ask_operator(ctx, problems).await {
                    Ok(()) | Err(Halt::Gap) => continue,
                    Err(halt) => return Err(halt),
                }
            }
            Err(halt) => return Err(halt),
        }
        match stage.next() {
            Some(next) => change(ctx, |progress| progress.stage = next),
            None => return Ok(()),
        }
    }
}

async fn pass_through(ctx: &Ctx, stage: Stage) -> Result<(), Halt> {
    control::gate(ctx).await?;
    // While the source is kept written it may be the one that fails; what the server gave up on is looked at when it is left.
    let is_kept = stage == Stage::Promote && read(ctx, |progress| progress.warm.begun);
    if stage >= Stage::Cutover && !is_kept {
        stages::without_dead_letters(ctx, stage).await?;
    }
    let began = control::now(ctx);
    change(ctx, |progress| begin(&mut progress.timings, stage, began));
    show_stage(ctx, stage)?;
    match stage {
        Stage::Preflight => stages::preflight(ctx).await?,
        Stage::PrepareTarget => stages::prepare_target(ctx).await?,
        Stage::DualWrite => stages::dual_write(ctx).await?,
        Stage::ExistingRecords => stages::existing_records(ctx).await?,
        Stage::Verify => stages::verify(ctx).await?,
        Stage::Cutover => stages::cutover(ctx).await?,
        Stage::Promote => stages::promote(ctx).await?,
        Stage::Finish => stages::finish(ctx).await?,
    }
    let ended = control::now(ctx);
    change(ctx, |progress| {
        if let Some(timing) = progress.timings.last_mut() {
            timing.ended = Some(ended);
        }
        progress.note(ended, "migration", true, format!("{stage} done"));
    });
    Ok(())
}

/// Puts the stage into the workflow's memo, where lists in Temporal UI and the command lines show it.
fn show_stage(ctx: &Ctx, stage: Stage) -> Result<(), Halt> {
    ctx.upsert_memo([(MEMO_STAGE, Some(MemoValue::new(stage.name())))])
        .map_err(|error| Problem::new(Code::Unexpected, format!("the memo cannot be written: {error}")).into())
}

fn begin(timings: &mut Vec<StageTiming>, stage: Stage, began: Timestamp) {
    if timings.last().is_none_or(|timing| timing.stage != stage) {
        timings.push(StageTiming {
            stage,
            began,
            ended: None,
        });
    }
}

async fn back(ctx: &Ctx) -> WorkflowResult<Report> {
    rollback::roll_back(ctx).await;
    let order = read(ctx, |progress| progress.back.clone());
    let ends = order.as_ref().map_or(Outcome::RolledBack, |order| order.ends);
    let report = end(ctx, ends);
    match (ends, order) {
        (Outcome::Aborted, Some(order)) => Err(aborted(&order.remark.to_string())),
        _ => Ok(report),
    }
}

fn aborted(remark: &str) -> WorkflowTermination {
    let problem = Problem::new(
        Code::Unexpected,
        format!("the operator gave the migration up ({remark}); the cluster is as it was"),
    )
    .remedy("start again with the same spec when you are ready");
    failure::fail(failure_type::ABORTED, &[problem])
}

fn end(ctx: &Ctx, result: Outcome) -> Report {
    let at = control::now(ctx);
    change(ctx, |progress| {
        progress.condition = Condition::Ended { result };
        progress.note(
            at,
            "migration",
            true,
            format!(
                "ended: {}",
                serde_json::to_value(result)
                    .ok()
                    .as_ref()
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            ),
        );
    });
    ctx.set_current_details(format!("ended: {result:?}"));
    read(ctx, Report::of)
}
