//! The stages: each brings the world from one state to the next and may be entered again at any point.

mod cutover;
mod dead_letters;
mod dual_write;
mod existing_records;
mod finish;
mod hosts;
mod indexes;
mod preflight;
mod prepare_target;
mod promote;
mod slices;
mod verify;

pub(crate) use cutover::cutover;
pub(crate) use dead_letters::{without_dead_letters, without_dead_letters_going_back};
pub(crate) use dual_write::{attributes, dual_write};
pub(crate) use existing_records::existing_records;
pub(crate) use finish::finish;
pub(crate) use hosts::{configure, configure_back, everywhere, everywhere_read, propagation, waves};
pub(crate) use indexes::build_again_going_back;
pub(crate) use preflight::preflight;
pub(crate) use prepare_target::prepare_target;
pub(crate) use promote::promote;
pub(crate) use verify::verify;
