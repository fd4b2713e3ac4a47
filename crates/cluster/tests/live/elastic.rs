//! A real Elasticsearch for these tests.

use e2e::servers::elasticsearch::{Elasticsearch, Options};
use e2e::servers::processes::Processes;
use e2e::servers::progress::Lines;
use tokio::sync::{Mutex, OnceCell};

/// Held while a test puts Temporal's index template, of which the node has one, or needs it gone.
pub(crate) static TEMPLATE: Mutex<()> = Mutex::const_new(());

/// The node that all tests of this binary share. It ends with this process.
pub(crate) async fn elastic() -> &'static Elasticsearch {
    static NODE: OnceCell<(Elasticsearch, Processes)> = OnceCell::const_new();
    let (node, _) = NODE
        .get_or_init(|| async {
            let folder = tempfile::tempdir().expect("a folder").keep();
            let processes = Processes::watch(&folder.join("pids")).expect("a watch over processes");
            let node = Elasticsearch::start(&folder, &Options::default(), &processes, &Lines::default())
                .await
                .expect("Elasticsearch");
            (node, processes)
        })
        .await;
    node
}
