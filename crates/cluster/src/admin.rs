//! The few calls of Temporal's admin API that the public one has no word for.
//!
//! The messages are written by hand with only the fields that are used; protobuf skips the others.
//! Field numbers: 1.30.8: proto/internal/temporal/server/api/{adminservice,cluster,persistence}/v1.
//! The admin API is served by the frontend on the same port and is not promised to be stable, so every caller must
//! be able to go on without it: a server without a call answers `Unimplemented`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::error::CallError;
use crate::execution::timestamp;
use crate::frontend::Frontend;

/// The hosts of a cluster, by service, as the frontend that answered sees the membership rings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// `IP:port` of each host, by the name of the service (`frontend`, `history`, `matching`, `worker`).
    pub by_service: BTreeMap<String, Vec<String>>,
}

/// How one index (a store) decodes search attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexAttributes {
    /// Custom attributes: number in `temporal.api.enums.v1.IndexedValueType` by name. On a cluster with SQL stores only:
    /// those of the Namespace whose column is registered for this index, by the Namespace's names (aliases).
    pub custom: BTreeMap<String, i32>,
    /// System attributes, likewise.
    pub system: BTreeMap<String, i32>,
    /// Fields of the Elasticsearch index by name, with Elasticsearch's own types; `None` where the server gives none:
    /// newer ones never do (1.23.1: service/frontend/admin_handler.go, getSearchAttributesElasticsearch).
    pub mapping: Option<BTreeMap<String, String>>,
}

/// A history shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// 1 to the number of shards.
    pub id: u32,
    /// It rises each time a host takes the shard, so also at each restart of its host.
    pub range_id: i64,
    /// The host that took it, `IP:port`.
    pub owner: String,
    /// When its row was last written.
    pub updated: Option<Timestamp>,
}

impl Frontend {
    /// The hosts in the membership rings.
    pub async fn members(&self) -> Result<Members, CallError> {
        let described: DescribeClusterResponse = self.admin("DescribeCluster", DescribeClusterRequest {}).await?;
        let rings = described.membership_info.map(|m| m.rings).unwrap_or_default();
        let by_service = rings
            .into_iter()
            .map(|ring| {
                let mut hosts: Vec<String> = ring.members.into_iter().map(|h| h.identity).collect();
                hosts.sort();
                (ring.role, hosts)
            })
            .collect();
        Ok(Members { by_service })
    }

    /// How the store with this index name decodes search attributes. The index name is the Elasticsearch index, or the
    /// `databaseName` of the SQL datastore. An index that the server does not know has no custom attributes at all.
    /// Source: 1.30.8: service/frontend/admin_handler.go, GetSearchAttributes.
    pub async fn index_attributes(&self, index_name: &str, namespace: &str) -> Result<IndexAttributes, CallError> {
        let request = GetSearchAttributesRequest {
            index_name: index_name.to_owned(),
            namespace: namespace.to_owned(),
        };
        let found: GetSearchAttributesResponse = self.admin("GetSearchAttributes", request).await?;
        Ok(IndexAttributes {
            custom: found.custom_attributes.into_iter().collect(),
            system: found.system_attributes.into_iter().collect(),
            mapping: Some(found.mapping.into_iter().collect()).filter(|fields: &BTreeMap<_, _>| !fields.is_empty()),
        })
    }

    /// One history shard, from the main store.
    pub async fn shard(&self, id: u32) -> Result<Shard, CallError> {
        let request = GetShardRequest {
            shard_id: i32::try_from(id).unwrap_or(i32::MAX),
        };
        let found: GetShardResponse = self.admin("GetShard", request).await?;
        let info = found
            .shard_info
            .ok_or_else(|| CallError::answer("GetShard", self.address(), "no shard_info"))?;
        Ok(Shard {
            id,
            range_id: info.range_id,
            owner: info.owner,
            updated: info.update_time.and_then(|t| timestamp(t.seconds, t.nanos)),
        })
    }

    /// The shard of an execution, as the server computes it. For tests of [`crate::canary::shard_of`] and diagnosis.
    pub async fn shard_of_execution(&self, namespace: &str, workflow_id: &str, run_id: &str) -> Result<u32, CallError> {
        const CALL: &str = "DescribeMutableState";
        let request = DescribeMutableStateRequest {
            namespace: namespace.to_owned(),
            execution: Some(Execution {
                workflow_id: workflow_id.to_owned(),
                run_id: run_id.to_owned(),
            }),
        };
        let found: DescribeMutableStateResponse = self.admin(CALL, request).await?;
        found.shard_id.parse().map_err(|_| {
            CallError::answer(
                CALL,
                self.address(),
                format!("shard_id is {:?}, not a number", found.shard_id),
            )
        })
    }

    pub(crate) async fn admin<Req, Resp>(&self, call: &'static str, message: Req) -> Result<Resp, CallError>
    where
        Req: prost::Message + Clone + 'static,
        Resp: prost::Message + Default + 'static,
    {
        let text = format!("/temporal.server.api.adminservice.v1.AdminService/{call}");
        let path = PathAndQuery::try_from(text)
            .map_err(|e| CallError::answer(call, self.address(), format!("not a method name: {e}")))?;
        self.bounded(call, message, |request| self.admin_once(path.clone(), request))
            .await
    }

    async fn admin_once<Req, Resp>(
        &self,
        path: PathAndQuery,
        mut request: Request<Req>,
    ) -> Result<Response<Resp>, Status>
    where
        Req: prost::Message + 'static,
        Resp: prost::Message + Default + 'static,
    {
        if let Some(key) = &self.api_key {
            let value = AsciiMetadataValue::try_from(format!("Bearer {}", key.expose()))
                .map_err(|_| Status::invalid_argument("api_key holds characters that no header may carry"))?;
            request.metadata_mut().insert("authorization", value);
        }
        let channel = self.channel.clone();
        let channel = channel.ok_or_else(|| Status::unimplemented("this connection is for the public API alone"))?;
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready()
            .await
            .map_err(|e| Status::unavailable(crate::error::with_causes(&e)))?;
        grpc.unary(request, path, ProstCodec::default()).await
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeClusterRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeClusterResponse {
    #[prost(message, optional, tag = "3")]
    membership_info: Option<MembershipInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MembershipInfo {
    #[prost(message, repeated, tag = "3")]
    rings: Vec<RingInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RingInfo {
    #[prost(string, tag = "1")]
    role: String,
    #[prost(message, repeated, tag = "3")]
    members: Vec<HostInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HostInfo {
    #[prost(string, tag = "1")]
    identity: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetSearchAttributesRequest {
    #[prost(string, tag = "1")]
    index_name: String,
    #[prost(string, tag = "2")]
    namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetSearchAttributesResponse {
    #[prost(map = "string, int32", tag = "1")]
    custom_attributes: std::collections::HashMap<String, i32>,
    #[prost(map = "string, int32", tag = "2")]
    system_attributes: std::collections::HashMap<String, i32>,
    #[prost(map = "string, string", tag = "3")]
    mapping: std::collections::HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetShardRequest {
    #[prost(int32, tag = "1")]
    shard_id: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetShardResponse {
    #[prost(message, optional, tag = "1")]
    shard_info: Option<ShardInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ShardInfo {
    #[prost(int64, tag = "2")]
    range_id: i64,
    #[prost(string, tag = "3")]
    owner: String,
    #[prost(message, optional, tag = "7")]
    update_time: Option<Time>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeMutableStateRequest {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(message, optional, tag = "2")]
    execution: Option<Execution>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Execution {
    #[prost(string, tag = "1")]
    workflow_id: String,
    #[prost(string, tag = "2")]
    run_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DescribeMutableStateResponse {
    #[prost(string, tag = "1")]
    shard_id: String,
}
