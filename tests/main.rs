//! One binary, one module per command, over our own harness.
//!
//! Fixtures are copied, never used in place. Each module says what it is about; names of tests are
//! sentences of behaviour with the command or option in them.

mod harness;
mod watched;

mod apply;
mod at;
mod book;
mod build;
mod builtins;
mod bundles;
mod check;
mod checkers;
mod ci;
mod cli;
mod clones;
mod commit;
mod debugger;
mod defects;
mod delve;
mod demo;
mod controllers;
mod diff;
mod doctor;
mod durability;
mod end_to_end;
mod engines;
mod explain;
mod facts;
mod house;
mod log;
mod manners;
mod objects;
mod overlay;
mod patch;
mod patch_formats;
mod patch_fuzz;
mod patch_hostile;
mod patch_merges;
mod patch_misfits;
mod known;
mod inspect;
mod places;
mod program;
mod provenance;
mod record;
mod recorder;
mod refusals;
mod replay;
mod revert;
mod rules;
mod saves;
mod setup;
mod shapes;
mod status;
mod streams;
mod traces;
mod upgrade;
mod version;
mod visits;
