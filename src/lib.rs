//! The hyper front end: knows HTTP, knows no SQL.

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod layers;
pub mod ops;
pub mod pages;
pub mod problem;
pub mod routes;
pub mod server;
pub mod telemetry;
