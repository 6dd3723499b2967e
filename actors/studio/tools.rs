//! The programs that the studio runs, and the options that all calls of ffmpeg share.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tenantry_supervision::Deadline;
use tokio_util::sync::CancellationToken;

use super::process::{Call, Output, ProcessError, TEXT_BYTES_MAX, run};
use super::runner::StepError;

/// Largest file of an ordinary step: ten seconds at the highest rate are 50 MB.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Largest picture that is decoded: 8k × 8k.
const PIXELS_MAX: u32 = 64 * 1024 * 1024;

/// Names or paths of the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// Encodes, decodes and filters.
    pub ffmpeg: PathBuf,
    /// Looks at what was encoded.
    pub ffprobe: PathBuf,
    /// Speaks.
    pub espeak_ng: PathBuf,
}

impl Default for Tools {
    fn default() -> Self {
        Self { ffmpeg: "ffmpeg".into(), ffprobe: "ffprobe".into(), espeak_ng: "espeak-ng".into() }
    }
}

/// An attempt's limits and folder: what every child process needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) tools: &'a Tools,
    pub(super) dir: &'a Path,
    pub(super) deadline: Deadline,
    pub(super) cancel: &'a CancellationToken,
    /// The largest file that a child may write.
    pub(super) file_bytes_max: u64,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        tools: &'a Tools,
        dir: &'a Path,
        deadline: Deadline,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self { tools, dir, deadline, cancel, file_bytes_max: FILE_BYTES_MAX }
    }

    /// The same with an earlier deadline.
    pub(super) fn until(self, deadline: Deadline) -> Self {
        Self { deadline, ..self }
    }

    /// Runs ffmpeg with our options after those that every call has.
    pub(super) async fn ffmpeg(&self, args: Vec<OsString>) -> Result<Output, StepError> {
        self.call_ffmpeg("error", args)
            .await
            .map_err(|error| error.into_step_error("encoder-failed"))
    }

    /// Runs ffmpeg so that filters tell what they measured.
    pub(super) async fn ffmpeg_telling(&self, args: Vec<OsString>) -> Result<Output, StepError> {
        self.call_ffmpeg("info", args)
            .await
            .map_err(|error| error.into_step_error("decoder-failed"))
    }

    async fn call_ffmpeg(&self, level: &str, args: Vec<OsString>) -> Result<Output, ProcessError> {
        let pixels = PIXELS_MAX.to_string();
        let shared = ["-nostdin", "-hide_banner", "-nostats", "-y", "-loglevel", level];
        // Files only: a hostile file that names an address or a playlist gets nowhere.
        let inputs = ["-protocol_whitelist", "file", "-max_pixels", &pixels];
        let mut all = options(shared);
        all.extend(options(inputs));
        all.extend(args);
        let output = self.run(&self.tools.ffmpeg, all, TEXT_BYTES_MAX).await?;
        if let Some(line) = output.stderr.lines().find(|line| is_write_failure(line)) {
            return Err(io::Error::other(line.to_owned()).into());
        }
        Ok(output)
    }

    /// Runs ffprobe and returns what it printed.
    pub(super) async fn ffprobe(&self, args: Vec<OsString>) -> Result<Vec<u8>, StepError> {
        let mut all = options(["-v", "error", "-protocol_whitelist", "file"]);
        all.extend(args);
        match self.run(&self.tools.ffprobe, all, TEXT_BYTES_MAX).await {
            Ok(output) => Ok(output.stdout),
            Err(error) => Err(error.into_step_error("output-invalid")),
        }
    }

    pub(super) async fn run(
        &self,
        program: &Path,
        args: Vec<OsString>,
        stdout_bytes_max: usize,
    ) -> Result<Output, ProcessError> {
        let call = Call {
            program,
            args,
            dir: self.dir,
            stdin: Vec::new(),
            file_bytes_max: self.file_bytes_max,
            stdout_bytes_max,
        };
        run(call, self.deadline, self.cancel).await
    }
}

/// Tells whether ffmpeg could not write its file: when only the end is missing, it ends with 0.
fn is_write_failure(line: &str) -> bool {
    let signs = ["No space left on device", "Disk quota exceeded", "Error writing trailer"];
    signs.into_iter().chain(["Error closing file"]).any(|sign| line.contains(sign))
}

/// Makes arguments of texts.
pub(super) fn options<const N: usize>(texts: [&str; N]) -> Vec<OsString> {
    texts.into_iter().map(OsString::from).collect()
}
