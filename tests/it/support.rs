//! What the tests of the whole share: a stack around the built binary.

use tenantry_chaos::{Stack, StackBuilder};

/// A stack around the binary that cargo built for these tests.
pub(crate) fn stack() -> StackBuilder {
    Stack::builder(env!("CARGO_BIN_EXE_tenantry"))
}
