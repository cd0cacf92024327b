//! One binary, one module per command, over our own harness.
//!
//! Fixtures are copied, never used in place. Each module says what it is about; names of tests are
//! sentences of behaviour with the command or option in them.

#![allow(clippy::needless_raw_string_hashes, reason = "snapbox writes whole texts so")]

mod harness;
mod watched;

mod again;
mod apply;
mod at;
mod book;
mod build;
mod builtins;
mod bundles;
mod chaos;
mod check;
mod checkers;
mod ci;
mod cli;
mod clones;
mod commit;
mod cores;
mod credentials;
mod debugger;
mod defects;
mod delve;
mod demo;
mod controllers;
mod diff;
mod doctor;
mod durability;
mod edges;
mod end_to_end;
mod engines;
mod explain;
mod facts;
mod house;
mod hunt;
mod log;
mod log_diff;
mod manners;
mod not_understood;
mod objects;
mod options;
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
mod states;
mod status;
mod streams;
mod traces;
mod transcripts;
mod upgrade;
mod verify;
mod version;
mod visits;
