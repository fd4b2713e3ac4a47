//! The end-to-end tests: one binary, real servers, one module for each story.

mod testbed;
