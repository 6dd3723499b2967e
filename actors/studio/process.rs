//! Child processes: bounded in time, output and file size, killed as a group, always reaped.
//!
//! A child leads its own process group and dies with the server even on SIGKILL (`setpriv
//! --pdeathsig`). Its pipes are drained while it runs, so a child that talks too much does not
//! block; its end is its exit, not the end of its pipes, so a grandchild that keeps them open
//! holds nobody up. Whatever happens, the whole group is killed before [`run`] returns.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tenantry_supervision::Deadline;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::runner::{StepError, source_chain};

/// Output that is kept of programs that answer in text; ffprobe's answer has some 2 KiB, the list
/// of voices 10 KiB.
pub(super) const TEXT_BYTES_MAX: usize = 256 * 1024;
/// The end of what was written to stderr, kept for the log.
const STDERR_BYTES_KEPT: usize = 4 * 1024;
/// How long pipes may stay open after the child's exit.
const PIPE_GRACE: Duration = Duration::from_millis(250);
/// How long a killed child may take to be reaped; the kernel needs microseconds.
const REAP_GRACE: Duration = Duration::from_secs(2);
/// Most address space of a child: a hostile picture must not take the machine's memory.
const MEMORY_BYTES_MAX: u64 = 6 * 1024 * 1024 * 1024;
/// Where programs are looked up; the server's own variables hold secrets and stay here.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program to run and what it may do.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// Its name or path.
    pub(super) program: &'a Path,
    /// Its arguments: options and file names of ours, nothing from outside.
    pub(super) args: Vec<OsString>,
    /// Where it runs.
    pub(super) dir: &'a Path,
    /// What it reads on stdin.
    pub(super) stdin: Vec<u8>,
    /// The largest file that it may write.
    pub(super) file_bytes_max: u64,
    /// How much of its output is kept; the rest is read and dropped.
    pub(super) stdout_bytes_max: usize,
}

/// What a child that ended well has said.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// Why a child did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    #[error("cancelled")]
    Cancelled,
    #[error("passed its deadline")]
    TimedOut,
    #[error("ended with {status}: {stderr}")]
    Failed { status: ExitStatus, stderr: String },
    #[error("cannot be run")]
    Io(#[from] io::Error),
}

impl ProcessError {
    /// Puts the failure in terms of a step; `code` names the step's own kind of failure.
    pub(super) fn into_step_error(self, code: &'static str) -> StepError {
        match self {
            Self::Cancelled => StepError::interrupted(),
            Self::TimedOut => StepError::timed_out(),
            Self::Failed { .. } | Self::Io(_) => {
                let detail = source_chain(&self);
                let is_full = detail.contains("No space left on device")
                    || detail.contains("Disk quota exceeded");
                let code = if is_full { "storage-full" } else { code };
                StepError::retryable(code, detail)
            }
        }
    }
}

/// Runs a program to its end, its deadline or its cancellation, whichever comes first.
pub(super) async fn run(
    call: Call<'_>,
    deadline: Deadline,
    cancel: &CancellationToken,
) -> Result<Output, ProcessError> {
    let mut child = command(&call).spawn()?;
    let group = Group::of(&child);
    let mut pipes = Pipes::of(&mut child, call.stdin, call.stdout_bytes_max);
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(ProcessError::Cancelled),
        () = tokio::time::sleep_until(deadline.instant()) => Err(ProcessError::TimedOut),
        status = pipes.drain_until_exit(&mut child) => Ok(status),
    };
    group.kill();
    let status = match ended {
        Ok(status) => status?,
        Err(error) => {
            if tokio::time::timeout(REAP_GRACE, child.wait()).await.is_err() {
                tracing::error!("a killed child was not reaped in time");
            }
            return Err(error);
        }
    };
    let stderr = String::from_utf8_lossy(&pipes.stderr.bytes).trim().to_owned();
    if !status.success() {
        return Err(ProcessError::Failed { status, stderr });
    }
    Ok(Output { stdout: pipes.stdout.bytes, stderr })
}

fn command(call: &Call<'_>) -> Command {
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--fsize={}", call.file_bytes_max))
        .arg(format!("--as={MEMORY_BYTES_MAX}"))
        .args(["--core=0", "setpriv", "--pdeathsig", "KILL", "--"])
        .arg(call.program)
        .args(&call.args)
        .current_dir(call.dir)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // The signal of `setpriv` comes when the thread that forked ends: threads of the runtime
        // live as long as the server, so nothing here may run on the pool for blocking work.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Kills the child's process group when dropped: also when the caller goes away in the middle.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn kill(mut self) {
        self.kill_once();
    }

    fn kill_once(&mut self) {
        if let Some(group) = self.0.take() {
            // No such process: the group has ended by itself.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill_once();
    }
}

/// The child's three pipes.
struct Pipes {
    input: Option<(tokio::process::ChildStdin, Vec<u8>)>,
    output: Option<tokio::process::ChildStdout>,
    errors: Option<tokio::process::ChildStderr>,
    stdout: Kept,
    stderr: Kept,
}

impl Pipes {
    fn of(child: &mut Child, stdin: Vec<u8>, stdout_bytes_max: usize) -> Self {
        Self {
            input: child.stdin.take().map(|pipe| (pipe, stdin)),
            output: child.stdout.take(),
            errors: child.stderr.take(),
            stdout: Kept { bytes: Vec::new(), max: stdout_bytes_max, keeps_end: false },
            stderr: Kept { bytes: Vec::new(), max: STDERR_BYTES_KEPT, keeps_end: true },
        }
    }

    /// Feeds and drains the child until it exits, and a moment longer for what is left in pipes.
    async fn drain_until_exit(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let input = self.input.take();
        let feed = async {
            if let Some((mut pipe, bytes)) = input {
                // A child that does not read all of it is its own business.
                let _ = pipe.write_all(&bytes).await;
            }
        };
        let output = self.stdout.read(self.output.take());
        let errors = self.stderr.read(self.errors.take());
        let drained = async { tokio::join!(feed, output, errors) };
        let mut drained = std::pin::pin!(drained);
        let mut is_drained = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                _ = &mut drained, if !is_drained => is_drained = true,
            }
        };
        if !is_drained {
            let _ = tokio::time::timeout(PIPE_GRACE, &mut drained).await;
        }
        Ok(status)
    }
}

/// The beginning or the end of a stream.
struct Kept {
    bytes: Vec<u8>,
    max: usize,
    keeps_end: bool,
}

impl Kept {
    async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(count) = pipe.read(&mut chunk).await {
            if count == 0 {
                return;
            }
            self.keep(&chunk[..count]);
        }
    }

    fn keep(&mut self, chunk: &[u8]) {
        if self.keeps_end {
            self.bytes.extend_from_slice(chunk);
            let surplus = self.bytes.len().saturating_sub(self.max);
            self.bytes.drain(..surplus);
        } else {
            let room = self.max.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    }
}

#[cfg(test)]
mod tests;
