//! The integration tests: real servers, real processes, and the rules that the source keeps.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod process;
#[cfg(test)]
mod support;
