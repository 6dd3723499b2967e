//! The local voice: espeak-ng.

use std::io;
use std::path::Path;

use tenantry_supervision::Deadline;
use tokio_util::sync::CancellationToken;

use super::plan::Voice;
use super::process::{Call, ProcessError, TEXT_BYTES_MAX, run};
use super::tools::{Attempt, options};
use super::voices::Voices;

/// Words a minute: a calm narrator.
const WORDS_PER_MINUTE: &str = "160";
/// The file that the narration is put into for the program to read.
const TEXT_FILE: &str = "narration.txt";
/// Most sound that is taken: 25 minutes at 22,050 samples a second, far more than a scene may last.
pub(super) const SOUND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// espeak-ng's variants for the two voices.
const FEMALE_VARIANT: &str = "f3";
const MALE_VARIANT: &str = "m3";
/// Asking for the list writes nothing of ours; the sound library behind it maps some memory.
const LIST_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Speaks a text and returns a WAV file. The text goes through a file, never through an argument.
///
/// The sound comes through a pipe: on a full disk espeak-ng writes half a file and reports success.
pub(super) async fn speak(
    attempt: &Attempt<'_>,
    text: &str,
    language: &str,
    voice: Voice,
) -> Result<Vec<u8>, ProcessError> {
    std::fs::write(attempt.dir.join(TEXT_FILE), readable(text))?;
    let variant = match voice {
        Voice::F => FEMALE_VARIANT,
        Voice::M => MALE_VARIANT,
    };
    // The language is one of espeak-ng's own list: letters, digits and `-`.
    let voice = format!("{language}+{variant}");
    let mut args = options(["-b", "1", "-s", WORDS_PER_MINUTE, "-v", &voice]);
    args.extend(options(["-f", TEXT_FILE, "--stdout"]));
    let output = attempt.run(&attempt.tools.espeak_ng, args, SOUND_BYTES_MAX).await?;
    Ok(output.stdout)
}

/// Reads the list of languages that espeak-ng speaks.
pub(super) async fn voices(
    program: &Path,
    dir: &Path,
    deadline: Deadline,
) -> Result<Voices, ProcessError> {
    let call = Call {
        program,
        args: options(["--voices"]),
        dir,
        stdin: Vec::new(),
        file_bytes_max: LIST_FILE_BYTES_MAX,
        stdout_bytes_max: TEXT_BYTES_MAX,
    };
    let output = run(call, deadline, &CancellationToken::new()).await?;
    let voices = Voices::parse(&String::from_utf8_lossy(&output.stdout));
    if voices.languages().next().is_none() {
        return Err(io::Error::other("the list of voices is empty").into());
    }
    Ok(voices)
}

/// Keeps espeak-ng from taking brackets for phonemes (`[[…]]`); its markup is off by default.
fn readable(text: &str) -> String {
    text.replace("[[", "[ [").replace("]]", "] ]")
}
