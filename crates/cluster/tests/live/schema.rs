//! Temporal's own schema tool on real stores.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crossfade_cluster::canary::{self, Flock};
use crossfade_cluster::schema::{SchemaError, SchemaOrder, SchemaOutcome, SchemaSource, SqlTarget, set_up};
use serde_json::{Value, json};

use crate::cache::{V1_23_1, V1_30_8};
use crate::postgres::{PASSWORD, postgres};
use crate::server::{NAMESPACE, Plan, Server, until};

fn order(datastore: &Value) -> SchemaOrder {
    SchemaOrder {
        target: SqlTarget::from_datastore(datastore).expect("a datastore"),
        tool: Some(V1_30_8.program("temporal-sql-tool")),
        source: SchemaSource::Embedded,
        create_database: true,
        within: Duration::from_secs(60),
    }
}

fn current(version: &str) -> SchemaOutcome {
    SchemaOutcome::Current {
        version: Some(version.to_owned()),
    }
}

fn applied(from: &str, to: &str) -> SchemaOutcome {
    SchemaOutcome::Applied {
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
    }
}

const VERSION: &str = "SELECT curr_version FROM schema_version";

#[tokio::test]
async fn a_database_is_created_and_brought_to_the_tools_version_once() {
    let order = order(&postgres().entry("fresh_visibility"));
    assert_eq!(set_up(&order).await.expect("set up"), applied("0.0", "1.13"));
    assert_eq!(postgres().ask("fresh_visibility", VERSION).expect("version"), "1.13");
    assert_eq!(set_up(&order).await.expect("set up again"), current("1.13"));
    let updates = postgres().ask(
        "fresh_visibility",
        "SELECT count(*) FROM schema_update_history WHERE new_version = '1.13'",
    );
    assert_eq!(updates.expect("history"), "1");
    assert_eq!(
        postgres()
            .ask("fresh_visibility", "SELECT count(*) FROM executions_visibility")
            .expect("table"),
        "0"
    );
}

#[tokio::test]
async fn an_older_schema_is_upgraded_from_temporals_folder() {
    // A folder with the first versions only, as an older release has it.
    let folder = tempfile::tempdir().expect("a folder");
    let all = V1_30_8.source("schema/postgresql/v12/visibility/versioned");
    for version in ["v1.0", "v1.1", "v1.2"] {
        std::fs::create_dir(folder.path().join(version)).expect("a folder");
        for file in std::fs::read_dir(all.join(version)).expect("files").flatten() {
            std::fs::copy(file.path(), folder.path().join(version).join(file.file_name())).expect("a copy");
        }
    }
    let links = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(all.join("v1.1"), links.path().join("v1.1")).expect("a link");
    let mut order = order(&postgres().entry("older_visibility"));
    order.source = SchemaSource::Folder(links.path().to_owned());
    let error = set_up(&order)
        .await
        .expect_err("the tool would do nothing and report success");
    assert!(error.to_string().contains("has no folders named v0.1"), "{error}");
    order.source = SchemaSource::Folder(folder.path().to_owned());
    assert_eq!(set_up(&order).await.expect("older"), applied("0.0", "1.2"));
    order.source = SchemaSource::Folder(V1_30_8.source("schema/postgresql/v12/visibility"));
    assert_eq!(set_up(&order).await.expect("upgraded"), applied("1.2", "1.13"));
    assert_eq!(set_up(&order).await.expect("again"), current("1.13"));
}

#[tokio::test]
async fn what_goes_wrong_is_said_without_the_password() {
    let mut wrong = postgres().entry("wrong_password");
    wrong["sql"]["password"] = json!("wr0ng&password");
    let order_wrong = order(&wrong);
    let said = format!(
        "{} {order_wrong:?}",
        set_up(&order_wrong).await.expect_err("wrong password")
    );
    assert!(said.contains("password authentication failed"), "{said}");
    assert!(
        said.contains("create-database on wrong_password at 127.0.0.1:"),
        "{said}"
    );
    assert!(!said.contains("wr0ng&password") && !said.contains(PASSWORD), "{said}");

    let mut missing = order(&postgres().entry("never_created"));
    missing.create_database = false;
    let error = set_up(&missing).await.expect_err("no database");
    assert!(error.is_transient(), "{error}");
    assert!(
        error.to_string().contains("database \"never_created\" does not exist"),
        "{error}"
    );

    let error = set_up(&order(&postgres().entry("Upper-Case")))
        .await
        .expect_err("a name the tool cannot write");
    assert!(
        error
            .to_string()
            .starts_with("datastore.sql.databaseName: \"Upper-Case\""),
        "{error}"
    );

    let mut folder = order(&postgres().entry("no_folder"));
    folder.source = SchemaSource::Folder("/no/such/folder".into());
    let error = set_up(&folder).await.expect_err("no folder");
    assert!(matches!(&error, SchemaError::Folder { .. }), "{error}");

    folder.tool = Some("/no/such/tool".into());
    let error = set_up(&folder).await.expect_err("no tool").to_string();
    assert!(
        error.contains("/no/such/tool") && error.contains("CROSSFADE_TEMPORAL_SQL_TOOL"),
        "{error}"
    );
}

fn sqlite(path: &Path, attributes: &Value) -> Value {
    json!({"sql": {"pluginName": "sqlite", "databaseName": path, "connectAttributes": attributes}})
}

fn tables(path: &Path) -> Vec<String> {
    let file = rusqlite::Connection::open(path).expect("the file");
    let mut names = file
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        .expect("a query");
    let names = names.query_map([], |row| row.get(0)).expect("rows");
    names.collect::<Result<_, _>>().expect("rows")
}

#[tokio::test]
async fn a_sqlite_file_gets_its_tables_from_temporals_file_or_from_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("visibility.db");

    let mut given = order(&sqlite(&path, &json!({"setup": "true"})));
    assert_eq!(set_up(&given).await.expect("by the server"), SchemaOutcome::ByServer);
    assert!(!path.exists(), "nothing was to be done");
    given.target = SqlTarget::from_datastore(&sqlite(&path, &json!({"setup": true}))).expect("a YAML boolean");
    assert_eq!(set_up(&given).await.expect("by the server"), SchemaOutcome::ByServer);

    given.source = SchemaSource::Folder(V1_30_8.source("schema/sqlite/v3/visibility"));
    assert_eq!(
        set_up(&given).await.expect("by the tool"),
        SchemaOutcome::Applied { from: None, to: None }
    );
    assert!(tables(&path).contains(&"executions_visibility".to_owned()));
    assert_eq!(
        set_up(&given).await.expect("again"),
        SchemaOutcome::Current { version: None }
    );

    let error = set_up(&order(&sqlite(&path, &json!({}))))
        .await
        .expect_err("nobody makes the tables")
        .to_string();
    assert!(
        error.contains("connectAttributes") && error.contains("schema/sqlite/v3/visibility"),
        "{error}"
    );
    for (path, attributes) in [
        (path.as_path(), json!({"mode": "memory"})),
        (Path::new("relative.db"), json!({})),
    ] {
        let error = set_up(&order(&sqlite(path, &attributes)))
            .await
            .expect_err("no file")
            .to_string();
        assert!(error.contains("is not the absolute path of a file"), "{error}");
    }
}

#[tokio::test]
async fn a_server_takes_a_sqlite_file_that_the_tool_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("visibility.db");
    let mut made = order(&sqlite(&path, &json!({})));
    made.source = SchemaSource::Folder(V1_30_8.source("schema/sqlite/v3/visibility"));
    set_up(&made).await.expect("by the tool");

    let server = Server::start_with(Plan::new(V1_30_8), |dir| {
        std::fs::copy(&path, dir.join("visibility.db")).expect("copied");
    });
    let frontend = server.frontend().await;
    assert_eq!(
        frontend
            .count(NAMESPACE, "WorkflowType = 'None'")
            .await
            .expect("counted"),
        0
    );
    assert!(
        tables(&server.dir.join("visibility.db")).contains(&"namespaces".to_owned()),
        "setup did not run"
    );
}

#[test]
fn a_datastore_that_is_not_understood_is_named() {
    for (datastore, expected) in [
        (json!({"elasticsearch": {}}), "not the entry of a SQL datastore"),
        (
            json!({"sql": {"pluginName": "postgres", "databaseName": "v", "connectAddr": "h:1"}}),
            "\"postgres\" is not one of",
        ),
        (
            json!({"sql": {"pluginName": "postgres12", "connectAddr": "h:1"}}),
            "databaseName",
        ),
        (
            json!({"sql": {"pluginName": "postgres12", "databaseName": "v", "connectAddr": "h"}}),
            "connectAddr",
        ),
        (
            json!({"sql": {"pluginName": "postgres12", "databaseName": "v", "connectAddr": "h:1", "password": PASSWORD,
                           "tls": {"enabled": true, "caData": "abc"}}}),
            "tls",
        ),
    ] {
        let error = SqlTarget::from_datastore(&datastore).expect_err(expected).to_string();
        assert!(error.contains(expected) && !error.contains(PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn an_older_server_works_on_a_schema_that_is_newer_than_its_own() {
    let entry = postgres().entry("newer_than_server");
    assert_eq!(set_up(&order(&entry)).await.expect("by 1.30.8"), applied("0.0", "1.13"));
    let server = Server::start(Plan {
        visibility: Some(entry),
        ..Plan::new(V1_23_1)
    });
    let frontend = server.frontend().await;
    let id = frontend.namespace(NAMESPACE).await.expect("asked").expect("there").id;
    let flock = Flock {
        namespace: NAMESPACE.to_owned(),
        namespace_id: id,
        seed: "newer".to_owned(),
        shards: 2,
        memo: BTreeMap::new(),
        search_attributes: BTreeMap::from([("BuildIds".to_owned(), json!(["canary"]))]),
        lifetime: Duration::from_secs(600),
        at_once: 2,
    };
    let keys = canary::start(&frontend, &flock).await.expect("started");
    frontend
        .terminate(NAMESPACE, &keys[0].workflow_id, &keys[0].run_id, "test")
        .await
        .expect("terminated");
    for (status, count) in [("Running", 1), ("Terminated", 1)] {
        let query = format!("ExecutionStatus = '{status}' AND BuildIds = 'canary'");
        until("both records", async || {
            frontend.count(NAMESPACE, &query).await.expect("counted") == count
        })
        .await;
    }
}
