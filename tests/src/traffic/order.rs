//! The workflow that traffic runs: an order, with the lives that orders have.

use serde::{Deserialize, Serialize};
use temporalio_common::MemoValue;
use temporalio_common::search_attributes::SearchAttributes;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, ChildWorkflowOptions, ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext,
    WorkflowResult,
};

use super::attributes;

/// The workflow type's name.
pub const WORKFLOW_TYPE: &str = "Order";

/// How an order's execution lives and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// Runs to its end.
    Completed,
    /// Waits for the signal `ship`, then runs to its end.
    Shipped,
    /// Fails.
    Failed,
    /// Waits until it is cancelled.
    Cancelled,
    /// Continues as new twice, then runs to its end: three executions under one id.
    ContinuedAsNew,
    /// Waits until it is terminated.
    Terminated,
    /// Waits until its run timeout.
    TimedOut,
    /// Runs to its end and is deleted.
    Deleted,
    /// Runs another order as its child, then to its end.
    Parent,
    /// Is run again and again on a schedule, until it is terminated.
    Cron,
    /// Stays open; each signal `touch` changes a search attribute.
    Open,
}

/// How often an order of [`Life::ContinuedAsNew`] does so.
pub(super) const GENERATIONS: u32 = 2;

/// An order's input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderInput {
    /// The order's number: everything about it follows from this and its life.
    pub number: u64,
    /// How it lives.
    pub life: Life,
    /// How often it has continued as new.
    pub generation: u32,
}

/// The workflow id of the child of an order of [`Life::Parent`].
pub(super) fn child_of(workflow_id: &str) -> String {
    format!("{workflow_id}-part")
}

/// An order.
#[workflow]
#[derive(Default)]
pub struct Order {
    shipped: bool,
    touched: i64,
    applied: i64,
}

#[workflow_methods]
impl Order {
    /// Lives as the input says.
    #[run(name = WORKFLOW_TYPE)]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: OrderInput) -> WorkflowResult<u64> {
        let OrderInput {
            number,
            life,
            generation,
        } = input;
        match life {
            Life::Terminated | Life::TimedOut => ctx.wait_condition(|_| false).await?,
            Life::Cancelled => {
                work(ctx, &input)?;
                ctx.wait_condition(|_| false).await?;
            }
            Life::Open => loop {
                ctx.wait_condition(|order| order.touched != order.applied).await?;
                let touched = ctx.state(|order| order.touched);
                ctx.state_mut(|order| order.applied = touched);
                ctx.upsert_search_attributes([attributes::QUANTITY.value_set(touched)]);
            },
            Life::Shipped => {
                ctx.wait_condition(|order| order.shipped).await?;
                work(ctx, &input)?;
            }
            Life::Failed => {
                work(ctx, &input)?;
                let reason = anyhow::anyhow!("order {number} is out of stock");
                return Err(ApplicationFailure::builder(reason)
                    .type_name("OutOfStock".to_owned())
                    .non_retryable(true)
                    .build()
                    .into());
            }
            Life::ContinuedAsNew => {
                work(ctx, &input)?;
                if generation < GENERATIONS {
                    let next = OrderInput {
                        generation: generation + 1,
                        ..input
                    };
                    ctx.continue_as_new(next, ContinueAsNewOptions::default())?;
                }
            }
            Life::Parent => {
                let part = OrderInput {
                    life: Life::Completed,
                    ..input
                };
                let attributes = attributes::updates(&attributes::at_start(number));
                let options = ChildWorkflowOptions::builder()
                    .workflow_id(child_of(ctx.workflow_id()))
                    .search_attributes(SearchAttributes::new(attributes.map_err(failure)?))
                    .build();
                ctx.start_child_workflow(Order::run, part, options)
                    .await?
                    .result()
                    .await?;
                work(ctx, &input)?;
            }
            Life::Completed | Life::Deleted => work(ctx, &input)?,
            Life::Cron => {}
        }
        Ok(number)
    }

    /// The order has left the house.
    #[signal(name = "ship")]
    pub fn ship(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.shipped = true;
    }

    /// The quantity is now `quantity`, unless a larger one came first.
    #[signal(name = "touch")]
    pub fn touch(&mut self, _ctx: &mut SyncWorkflowContext<Self>, quantity: i64) {
        self.touched = self.touched.max(quantity);
    }
}

/// Changes the order's search attributes and memo while it runs.
fn work(ctx: &WorkflowContext<Order>, input: &OrderInput) -> WorkflowResult<()> {
    let changes = attributes::after_work(input.number, input.generation);
    ctx.upsert_search_attributes(attributes::updates(&changes).map_err(failure)?);
    let memo = attributes::memo_after_work(input.number, input.generation);
    ctx.upsert_memo(memo.into_iter().map(|(key, value)| (key, Some(MemoValue::new(value)))))?;
    Ok(())
}

fn failure(reason: anyhow::Error) -> ApplicationFailure {
    ApplicationFailure::builder(reason).non_retryable(true).build()
}
