//! Dead letters: tasks that the history service gave up on.
//!
//! From 1.23 on a task that fails with an unexpected error 70 times (100 times in 1.23), which takes about an hour, is
//! put into a queue of its own and not tried again until somebody merges it back (`history.TaskDLQUnexpectedErrorAttempts`,
//! 1.30.8: common/dynamicconfig/constants.go; docs/admin/dlq.md). A visibility task there is a record that a store lacks or
//! has in an older version. Servers before that try for ever.

use crate::error::CallError;
use crate::frontend::Frontend;

/// Category of Visibility tasks (1.30.8: service/history/tasks/category.go).
const VISIBILITY_CATEGORY: u32 = 4;

/// Queue type of the dead letters of history tasks (1.30.8: common/persistence/queue_v2.go).
const HISTORY_DEAD_LETTERS: i32 = 2;

/// How many queues are asked for at once; there is one for each category and pair of clusters.
const QUEUES_A_PAGE: i32 = 100;

/// Tasks that the history service gave up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeadLetters {
    /// Visibility tasks: each may be a record that a store lacks.
    pub visibility: u64,
    /// All others.
    pub other: u64,
}

impl Frontend {
    /// How many tasks lie in the dead-letter queues. `None` on servers that have none (before 1.23).
    ///
    /// # Errors
    /// When the frontend does not answer, or does not let this caller ask.
    pub async fn dead_letters(&self) -> Result<Option<DeadLetters>, CallError> {
        let mut counted = DeadLetters::default();
        let mut next_page_token = Vec::new();
        loop {
            let request = ListQueuesRequest {
                queue_type: HISTORY_DEAD_LETTERS,
                page_size: QUEUES_A_PAGE,
                next_page_token,
            };
            let page: ListQueuesResponse = match self.admin("ListQueues", request).await {
                Err(error) if error.code() == Some(tonic::Code::Unimplemented) => return Ok(None),
                other => other?,
            };
            for queue in page.queues {
                let tasks = u64::try_from(queue.message_count).unwrap_or_default();
                // A queue is named CATEGORY_SOURCE_TARGET_HASH (1.30.8: common/persistence/history_task_queue_manager.go).
                let category = queue.queue_name.split('_').next().and_then(|c| c.parse::<u32>().ok());
                match category {
                    Some(VISIBILITY_CATEGORY) => counted.visibility += tasks,
                    _ => counted.other += tasks,
                }
            }
            next_page_token = page.next_page_token;
            if next_page_token.is_empty() {
                return Ok(Some(counted));
            }
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListQueuesRequest {
    #[prost(int32, tag = "1")]
    queue_type: i32,
    #[prost(int32, tag = "2")]
    page_size: i32,
    #[prost(bytes = "vec", tag = "3")]
    next_page_token: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListQueuesResponse {
    #[prost(message, repeated, tag = "1")]
    queues: Vec<QueueInfo>,
    #[prost(bytes = "vec", tag = "2")]
    next_page_token: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct QueueInfo {
    #[prost(string, tag = "1")]
    queue_name: String,
    #[prost(int64, tag = "2")]
    message_count: i64,
}
