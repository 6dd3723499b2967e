//! Building blocks of supervision: they know no domain, no database and no protocol.

pub mod breaker;
pub mod deadline;
pub mod gate;
pub mod health;
pub mod restart;
pub mod retry;
pub mod shutdown;
pub mod spawn;
