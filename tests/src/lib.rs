//! Real servers, real traffic, an independent judge: the testbed and the end-to-end tests.
//!
//! Nothing here imports the product: what the testbed starts, what traffic remembers and what the judge reads
//! would otherwise share the product's mistakes.

pub mod bare;
pub mod faults;
pub mod judge;
pub mod migration;
pub mod namespaces;
pub mod prober;
pub mod scene;
pub mod servers;
pub mod story;
pub mod testbed;
pub mod told;
pub mod traffic;
