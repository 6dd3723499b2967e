//! A child process that announces itself by its first line, and ends with this one.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

/// How often is looked whether a process that was asked to end has ended.
const END_PAUSE: Duration = Duration::from_millis(20);

/// A running child process, ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// What ends it at once together with everything that it started.
    last_signal: Signal,
}

impl Process {
    /// Starts a process and waits for its first line.
    pub(crate) fn announced(command: &mut Command) -> anyhow::Result<(Self, String)> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("start a process")?;
        let output = child.stdout.take();
        let process = Self { child, last_signal: Signal::SIGKILL };
        let mut output = BufReader::new(output.context("the child has no output")?);
        let mut line = String::new();
        output.read_line(&mut line).context("read the first line")?;
        // What else it says is read and thrown away: a full pipe would stop it.
        std::thread::spawn(move || {
            let mut rest = [0; 4096];
            while output.read(&mut rest).is_ok_and(|length| length > 0) {}
        });
        Ok((process, line.trim_end().to_owned()))
    }

    /// Starts a process that says nothing; `last_signal` is what ends it at once.
    pub(crate) fn silent(command: &mut Command, last_signal: Signal) -> anyhow::Result<Self> {
        let child = command.stdout(Stdio::null()).spawn().context("start a process")?;
        Ok(Self { child, last_signal })
    }

    /// Tells the process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells how it ended, if it has.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("look after a process")
    }

    /// Asks the process to end and waits until it has.
    pub(crate) fn stop(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.send(Signal::SIGTERM)?;
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("process {} was asked to end and did not within {within:?}", self.pid());
            }
            std::thread::sleep(END_PAUSE);
        }
    }

    fn send(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()).context("an id of a process is too large")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {pid}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good; its id is not given away before `wait`.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.send(self.last_signal);
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_first_line_and_ends_when_asked() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo here I am; echo more; exec sleep 60"]);

        let (mut process, line) = Process::announced(&mut command).unwrap();

        assert_eq!(line, "here I am");
        assert!(process.ended().unwrap().is_none());
        assert!(!process.stop(Duration::from_secs(10)).unwrap().success());
    }
}
