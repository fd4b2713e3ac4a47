//! The work on a real cluster: each piece done twice, and hosts that do not come up.

mod digests;
mod fits;
mod host_down;
mod refreshed;
mod scene;
mod set_aside;
mod throttled;
mod twice;
mod waited;
mod window;
