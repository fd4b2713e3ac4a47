//! Traffic's ledger against what the cluster itself says, over a restart.

use anyhow::Result;
use e2e::testbed::{NAMESPACE, Testbed};
use e2e::traffic::Traffic;

#[tokio::test]
async fn traffic_outlasts_a_restart_and_comes_to_its_ends() -> Result<()> {
    let testbed = Testbed::sqlite().await?;
    let traffic = Traffic::begin(testbed.frontend(), NAMESPACE).await?;
    traffic.existing(100).await?;
    let before = traffic.ledger().kept();
    assert!(before >= 100);
    let going = traffic.keep_going(20);
    for host in testbed.temporal().hosts() {
        host.restart()?;
    }
    testbed.temporal().serving().await?;
    traffic.reaches(before + 60).await;
    assert!(going.stop().await? > 0);
    traffic.settle().await?;
    let ledger = traffic.end();
    // Every end that an order can come to has been come to.
    assert_eq!(ledger.summary().len(), 8, "{:?}", ledger.summary());
    testbed.finish()
}
