//! Every pair of stores that servers allow, on real ones: the same story each time, one line of data for each pair.
//!
//! The servers on Java are shared by the whole run; each pair has its own index, keyspace and PostgreSQL.

mod indices;

use anyhow::Result;
use e2e::servers::binaries::{
    Release, TEMPORAL_1_21_6, TEMPORAL_1_23_1, TEMPORAL_1_27_3, TEMPORAL_1_30_8, TEMPORAL_1_32_2,
};
use e2e::story::migrates;
use e2e::testbed::Engine::{self, *};
use e2e::testbed::Plan;

/// One pair: the server, from where to where, and how the server names its stores.
macro_rules! pairs {
    ($($name:ident: $release:expr, $source:expr => $target:expr, [$from:literal, $to:literal];)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> Result<()> {
                let id = stringify!($name);
                pair(id, &$release, $source, $target, [$from, $to]).await
            }
        )*
    };
}

pairs! {
    postgres_to_postgres_on_1_32_2: TEMPORAL_1_32_2, Postgres => Postgres, ["postgres12", "postgres12"];
    cassandra_to_postgres_on_1_23_1: TEMPORAL_1_23_1, Cassandra => Postgres, ["cassandra", "postgres12"];
    standard_postgres_to_postgres_on_1_23_1: TEMPORAL_1_23_1, StandardPostgres => Postgres, ["postgres", "postgres12"];
    postgres_to_postgres_on_1_27_3: TEMPORAL_1_27_3, Postgres => Postgres, ["postgres12", "postgres12"];
    postgres_to_postgres_on_1_30_8: TEMPORAL_1_30_8, Postgres => Postgres, ["postgres12", "postgres12"];
    sqlite_to_postgres_on_1_30_8: TEMPORAL_1_30_8, Sqlite => Postgres, ["sqlite", "postgres12"];
    elasticsearch_to_another_index_on_1_21_6: TEMPORAL_1_21_6, Elasticsearch => Elasticsearch, ["elasticsearch", "elasticsearch"];
    elasticsearch_to_another_index_on_1_23_1: TEMPORAL_1_23_1, Elasticsearch => Elasticsearch, ["elasticsearch", "elasticsearch"];
    elasticsearch_to_another_index_on_1_30_8: TEMPORAL_1_30_8, Elasticsearch => Elasticsearch, ["elasticsearch", "elasticsearch"];
    elasticsearch_to_another_elasticsearch_on_1_30_8: TEMPORAL_1_30_8, Elasticsearch => OtherElasticsearch, ["elasticsearch", "elasticsearch"];
    elasticsearch_to_opensearch_on_1_30_8: TEMPORAL_1_30_8, Elasticsearch => OpenSearch, ["elasticsearch", "elasticsearch"];
}

/// A key that makes a refresh dangerous, whatever it says: closed executions are copied then, and their search attributes,
/// which the source does not hold, come from the cluster's own state.
#[tokio::test(flavor = "multi_thread")]
async fn standard_postgres_to_postgres_by_copy_on_1_23_1() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_23_1, StandardPostgres, Postgres).with_dynamic_config(
        "history.visibilityProcessorEnableCloseWorkflowCleanup:\n  - value: false\n    constraints: {}\n",
    );
    migrates("by-copy", plan, ["postgres", "postgres12"]).await
}

async fn pair(
    id: &'static str,
    release: &'static Release,
    source: Engine,
    target: Engine,
    stores: [&str; 2],
) -> Result<()> {
    migrates(id, Plan::pair(release, source, target), stores).await
}
