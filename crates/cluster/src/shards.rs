//! Which history host has which shards, and whether every shard has found its host.
//!
//! A shard moves whenever a history host leaves or joins the ring. What a host says of its shards is what it has in its hands
//! now (1.30.8: service/history/handler.go, DescribeHistoryHost), not what the ring would give it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::connect::{Checked, ConnectSettings};
use crate::error::CallError;
use crate::frontend::Frontend;

/// Bound of one question to a history host itself.
const ASK: Duration = Duration::from_secs(3);

/// Pause between two looks; two in a row have to say the same.
const PAUSE: Duration = Duration::from_millis(500);

/// What came of waiting for the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shards {
    /// Each is with one host of the ring, and stays there.
    Settled {
        /// How many shards each history host has, by `IP:port`.
        by_host: BTreeMap<String, usize>,
    },
    /// This server or this user's rights do not let us know.
    Unknown {
        /// The server's words.
        reason: String,
    },
}

/// What a history host says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryHost {
    /// By which address the others know it, `IP:port`.
    pub address: String,
    /// The shards that it has now.
    pub shards: Vec<u32>,
}

/// Asks the history host at `settings.address` itself, at most 3 s. Between services the server uses its internode TLS, which
/// need not be that of the frontend.
///
/// # Errors
/// The words of the settings, the transport or the server.
pub async fn ask_history_host(settings: &ConnectSettings) -> Result<HistoryHost, String> {
    let channel = Checked::read(settings)
        .and_then(|checked| checked.channel("address"))
        .map_err(|error| error.to_string())?;
    let path = PathAndQuery::from_static("/temporal.server.api.historyservice.v1.HistoryService/DescribeHistoryHost");
    let asked = async {
        let mut grpc = tonic::client::Grpc::new(channel);
        let unready = |error| Status::unavailable(crate::error::with_causes(&error));
        grpc.ready().await.map_err(unready)?;
        // 1.30.8: historyservice/v1/request_response.proto; the fields that are used have the numbers of the admin API's.
        let request = DescribeHistoryHostRequest::default();
        let codec: ProstCodec<_, DescribeHistoryHostResponse> = ProstCodec::default();
        grpc.unary(Request::new(request), path, codec).await
    };
    match tokio::time::timeout(ASK, asked).await {
        Ok(Ok(answer)) => {
            let host = answer.into_inner();
            Ok(HistoryHost {
                shards: known(&host),
                address: host.address,
            })
        }
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("no answer within {ASK:?}")),
    }
}

fn known(host: &DescribeHistoryHostResponse) -> Vec<u32> {
    let ids = host.shard_ids.iter();
    ids.filter_map(|id| u32::try_from(*id).ok()).collect()
}

/// Shards that do not come to rest.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the history shards have not settled after {waited:?}: {seen}; look into the logs of the history hosts")]
pub struct Unsettled {
    /// For how long.
    pub waited: Duration,
    /// What was seen last.
    pub seen: String,
}

impl Frontend {
    /// The shards that the history host `address` (`IP:port`, as in the membership ring) has now.
    ///
    /// # Errors
    /// As the server answers; a host that has just left cannot be asked.
    pub async fn shards_of(&self, address: &str) -> Result<Vec<u32>, CallError> {
        let request = DescribeHistoryHostRequest {
            host_address: address.to_owned(),
        };
        let host: DescribeHistoryHostResponse = self.admin("DescribeHistoryHost", request).await?;
        Ok(known(&host))
    }

    /// Waits until each of `shards` history shards is with exactly one host of the ring, twice in a row with the same one.
    ///
    /// # Errors
    /// [`Unsettled`] when `within` is over.
    pub async fn await_shards(&self, shards: u32, within: Duration) -> Result<Shards, Unsettled> {
        let begun = Instant::now();
        let mut before = None;
        loop {
            let seen = match self.spread().await {
                Ok(spread) => match whole(shards, &spread) {
                    Ok(()) if before.as_ref() == Some(&spread) => {
                        let by_host = spread.into_iter().map(|(host, shards)| (host, shards.len())).collect();
                        return Ok(Shards::Settled { by_host });
                    }
                    Ok(()) => {
                        before = Some(spread);
                        "they have just come to rest".to_owned()
                    }
                    Err(seen) => {
                        before = None;
                        seen
                    }
                },
                Err(error) if error.is_transient() => {
                    before = None;
                    error.to_string()
                }
                Err(error) => {
                    return Ok(Shards::Unknown {
                        reason: error.to_string(),
                    });
                }
            };
            if begun.elapsed() + PAUSE >= within {
                return Err(Unsettled {
                    waited: begun.elapsed(),
                    seen,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The shards of each history host of the ring.
    async fn spread(&self) -> Result<BTreeMap<String, Vec<u32>>, CallError> {
        let members = self.members().await?;
        let mut spread = BTreeMap::new();
        for host in members.by_service.get("history").into_iter().flatten() {
            let mut shards = self.shards_of(host).await?;
            shards.sort_unstable();
            spread.insert(host.clone(), shards);
        }
        Ok(spread)
    }
}

/// Whether each of `shards` shards is with exactly one host; else what is amiss.
fn whole(shards: u32, spread: &BTreeMap<String, Vec<u32>>) -> Result<(), String> {
    let mut owners: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (host, held) in spread {
        for shard in held {
            owners.entry(*shard).or_default().push(host);
        }
    }
    if let Some((shard, hosts)) = owners.iter().find(|(_, hosts)| hosts.len() > 1) {
        return Err(format!("shard {shard} is with {}", hosts.join(" and ")));
    }
    match (1..=shards).find(|shard| !owners.contains_key(shard)) {
        None => Ok(()),
        Some(shard) => {
            let lacking = (1..=shards).filter(|shard| !owners.contains_key(shard)).count();
            Err(format!(
                "{lacking} of {shards} are with none of {} hosts, shard {shard} is one of them",
                spread.len()
            ))
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeHistoryHostRequest {
    #[prost(string, tag = "1")]
    host_address: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeHistoryHostResponse {
    #[prost(int32, repeated, tag = "2")]
    shard_ids: Vec<i32>,
    #[prost(string, tag = "5")]
    address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_with_one_host() {
        let spread = |hosts: &[(&str, &[u32])]| -> BTreeMap<String, Vec<u32>> {
            hosts
                .iter()
                .map(|(host, shards)| ((*host).to_owned(), shards.to_vec()))
                .collect()
        };
        let check = |hosts: &[(&str, &[u32])], told: &str| match whole(4, &spread(hosts)) {
            Ok(()) => assert!(told.is_empty(), "expected {told}"),
            Err(seen) => assert_eq!(seen, told),
        };
        check(&[("a", &[1, 3]), ("b", &[2, 4])], "");
        check(&[("a", &[1, 2, 3, 4]), ("b", &[])], "");
        check(
            &[("a", &[1, 3]), ("b", &[4])],
            "1 of 4 are with none of 2 hosts, shard 2 is one of them",
        );
        check(&[("a", &[1, 2, 3]), ("b", &[3, 4])], "shard 3 is with a and b");
        check(&[], "4 of 4 are with none of 0 hosts, shard 1 is one of them");
    }
}
