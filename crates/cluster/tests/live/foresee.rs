//! What would keep attributes from a target is seen before any host knows it.

use crossfade_cluster::Frontend;
use crossfade_cluster::attributes::type_name;
use crossfade_cluster::register::{Index, IndexKind, RegisterError, foresee};
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_common::protos::temporal::api::namespace::v1::NamespaceConfig;
use temporalio_common::protos::temporal::api::workflowservice::v1::UpdateNamespaceRequest;
use tonic::IntoRequest;

use crate::cache::V1_23_1;
use crate::server::{NAMESPACE, Plan, Server};
use crate::standard::{standard_database, tctl_adds};

#[tokio::test]
async fn what_cannot_be_registered_is_foreseen() {
    let server = Server::start(Plan {
        visibility: Some(standard_database("standard_foreseen")),
        ..Plan::new(V1_23_1)
    });
    let frontend = server.frontend().await;
    let namespaces = [NAMESPACE.to_owned()];
    let index = |kind, name: &str| Index {
        kind,
        name: name.to_owned(),
    };
    let (fields, columns) = (
        index(IndexKind::Names, "temporal_visibility_v1_foreseen"),
        index(IndexKind::Columns, "columns_foreseen"),
    );
    let foreseen = async |target: &Index| foresee(&frontend, &Index::standard(), target, &namespaces).await;

    tctl_adds(&server, &[("CustomerId", "Keyword"), ("Paid", "Bool")], true);
    let wanted = foreseen(&fields).await.expect("no conflict");
    let names: Vec<(&str, &str)> = wanted
        .iter()
        .map(|(name, kind)| (name.as_str(), type_name(*kind)))
        .collect();
    assert_eq!(names, [("CustomerId", "Keyword"), ("Paid", "Bool")]);
    foreseen(&columns).await.expect("columns for all");

    // Left by somebody who tried before.
    name_column(&frontend, "Int01", "City").await;
    foreseen(&columns).await.expect("nobody's attribute has that name");
    tctl_adds(&server, &[("City", "Keyword")], true);
    let conflict = foreseen(&columns).await.expect_err("another type");
    assert!(
        matches!(&conflict, RegisterError::OtherTypes { namespace: Some(name), .. } if name == NAMESPACE),
        "{conflict:?}"
    );
    assert!(
        conflict.to_string().contains("City is Int, not Keyword") && !conflict.is_transient(),
        "{conflict}"
    );
    foreseen(&fields).await.expect("an index has its own");

    tctl_adds(&server, &[("Sent", "Bool"), ("Seen", "Bool"), ("Done", "Bool")], true);
    name_column(&frontend, "Int01", "").await;
    let full = foreseen(&columns).await.expect_err("too few columns");
    let RegisterError::Columns {
        kind, wanted, columns, ..
    } = &full
    else {
        panic!("{full:?}")
    };
    assert_eq!((*kind, *wanted, *columns), (IndexedValueType::Bool, 4, 3));
}

/// Gives a column of the Namespace a name; an empty one takes it away.
async fn name_column(frontend: &Frontend, column: &str, name: &str) {
    let request = UpdateNamespaceRequest {
        namespace: NAMESPACE.to_owned(),
        config: Some(NamespaceConfig {
            custom_search_attribute_aliases: [(column.to_owned(), name.to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut service = frontend.connection().workflow_service();
    service
        .update_namespace(request.into_request())
        .await
        .expect("a name for a column");
}
