//! The servers that tests stand on: each comes up, survives its death with its data, and goes.

mod engines;
mod jvm;
