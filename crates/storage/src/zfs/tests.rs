//! The ZFS store on real pools, made by zfs-fuse: the conformance suite.

use super::*;
use crate::conformance::{CaseError, PoolMaker, TestNode, conformance_tests};
use crate::test_pools::{ZfsDaemon, ZfsTestPool};

struct Maker {
    daemon: Arc<ZfsDaemon>,
}

impl Maker {
    fn new() -> Self {
        let daemon = Arc::new(ZfsDaemon::start().unwrap());
        Self { daemon }
    }
}

#[async_trait]
impl PoolMaker for Maker {
    async fn make(&self, size_mib: u64) -> Result<TestNode, CaseError> {
        let pool = ZfsTestPool::new(&self.daemon, size_mib).await?;
        let store = pool.store().await?;
        let keeper = Box::new(pool);
        Ok(TestNode { store, keeper })
    }

    async fn reopen(&self, node: &TestNode) -> Result<Arc<dyn VolumeStore>, CaseError> {
        let pool = node.keeper.downcast_ref::<ZfsTestPool>();
        Ok(pool.ok_or("not a ZFS pool")?.store().await?)
    }
}

conformance_tests!(Maker::new());

#[test]
fn the_dataset_named_flocker_is_found() {
    assert_eq!(
        parse_found("tank\ntank/flocker\n").as_deref(),
        Some("tank/flocker")
    );
    assert_eq!(parse_found("flocker\n").as_deref(), Some("flocker"));
    assert_eq!(parse_found("tank/a/flocker\ntank/notflocker\n"), None);
}
