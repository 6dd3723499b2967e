//! The `tenantry` binary.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request makes many small allocations on one thread and frees them on another, which is what
/// the system's allocator is slow at (docs/src/decisions/0009-mimalloc.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tenantry::cli::run()
}
