//! What came of an order, for a later attempt at the very same order.
//!
//! A host that does not come up may take its cluster down with it, the one that runs the workflow too, for longer than a
//! heartbeat may be late. The server then orders the work again before it takes in the answer that this worker holds. Done again,
//! it would take the cluster down again, and so on for ever; so a second attempt is given the first one's answer. An order that
//! an operator gives again is another activity, and is carried out.

use std::{collections::BTreeMap, sync::Arc};

use crossfade_plan::problem::Problem;
use temporalio_sdk::activities::ActivityContext;
use tokio::sync::Mutex;

/// The last problem of each host, and of which activity it was.
#[derive(Debug, Default)]
pub(crate) struct Told(std::sync::Mutex<BTreeMap<String, Arc<Mutex<Last>>>>);

/// The activity and its problem, once there was one.
type Last = Option<(String, Problem)>;

impl Told {
    /// Does `work` for a host, unless it was done for the same activity before and failed in a way that trying again does not
    /// help with. A second attempt waits for the first.
    pub(crate) async fn or_do<T>(
        &self,
        activity: &str,
        host: &str,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let last = {
            let mut hosts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            hosts.entry(host.to_owned()).or_default().clone()
        };
        let mut last = last.lock().await;
        if let Some((_, problem)) = last.as_ref().filter(|(of, _)| of == activity) {
            return Err(problem.clone());
        }
        let outcome = work.await;
        if let Err(problem) = &outcome
            && !problem.code.retryable()
        {
            *last = Some((activity.to_owned(), problem.clone()));
        }
        outcome
    }
}

/// What names an activity for all of its attempts.
pub(crate) fn name_of(ctx: &ActivityContext) -> String {
    let info = ctx.info();
    let run = info.workflow_run_id.as_deref().unwrap_or_default();
    format!("{run} {}", info.activity_id)
}

#[cfg(test)]
mod tests {
    use crossfade_plan::problem::Code;

    use super::*;

    #[tokio::test]
    async fn a_second_attempt_is_told_what_the_first_came_to() {
        let told = Told::default();
        let fails = |code: Code| async move { Err::<(), _>(Problem::new(code, "seen")) };
        let again = async || told.or_do("run 1", "a", async { Ok(()) }).await;
        assert!(told.or_do("run 1", "a", fails(Code::ClusterUnreachable)).await.is_err());
        assert_eq!(again().await, Ok(()), "what passes by itself is tried again");
        assert!(told.or_do("run 1", "a", fails(Code::HostDown)).await.is_err());
        assert_eq!(again().await.map_err(|problem| problem.code), Err(Code::HostDown));
        assert_eq!(told.or_do("run 1", "b", async { Ok(()) }).await, Ok(()), "another host");
        assert_eq!(
            told.or_do("run 2", "a", async { Ok(()) }).await,
            Ok(()),
            "another order"
        );
    }
}
