//! The outside world, simulated and breakable, and the harness that starts real servers.
//!
//! Everything here speaks over real sockets to real processes: what a test sees is what a user would.

pub mod harness;
pub mod history;
pub mod postgres;
pub mod proxy;
pub mod script;
pub mod strace;
pub mod world;

pub use harness::{Api, Reply, Server, Stack, StackBuilder};
pub use postgres::Postgres;
pub use proxy::{Cut, Moment, Proxy};
pub use world::{Mode, Service, World, WorldSettings};
