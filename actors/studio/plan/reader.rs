//! Reads a plan's shape out of JSON, collecting every fault with its pointer.

use serde_json::{Map, Value};

use super::{FieldError, RenderPlan, Resolution, SCENES_MAX, Scene, Voice, fault, seconds};

/// Unknown fields named one by one; more than this are summed up.
const UNKNOWN_FIELDS_NAMED_MAX: usize = 16;
/// Characters of an unknown field's name that are repeated in an answer.
const FIELD_NAME_CHARS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Reader {
    errors: Vec<FieldError>,
}

impl Reader {
    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    pub(super) fn plan(&mut self, value: &Value) -> Option<RenderPlan> {
        let fields = ["topic", "language", "voice", "resolution", "scenes"];
        let object = self.object(value, "", &fields)?;
        let topic = self.text(object, "", "topic");
        let language = self.text(object, "", "language");
        let voice = self.one_of(object, "voice", &[("F", Voice::F), ("M", Voice::M)]);
        let sizes =
            [Resolution::Hd, Resolution::FullHd, Resolution::Uhd].map(|size| (size.as_str(), size));
        let resolution = self.one_of(object, "resolution", &sizes);
        let scenes = self.scenes(object);
        Some(RenderPlan {
            topic: topic?,
            language: language?,
            voice: voice?,
            resolution: resolution?,
            scenes: scenes?,
        })
    }

    fn scenes(&mut self, object: &Map<String, Value>) -> Option<Vec<Scene>> {
        let Some(items) = self.field(object, "", "scenes")?.as_array() else {
            self.fault("/scenes", "must be a list of scenes");
            return None;
        };
        if items.is_empty() || items.len() > SCENES_MAX {
            self.fault("/scenes", &format!("must have 1 to {SCENES_MAX} scenes"));
            return None;
        }
        let scenes: Vec<Option<Scene>> =
            items.iter().enumerate().map(|(index, item)| self.scene(index, item)).collect();
        scenes.into_iter().collect()
    }

    fn scene(&mut self, index: usize, value: &Value) -> Option<Scene> {
        let at = format!("/scenes/{index}");
        let object = self.object(value, &at, &["image_prompt", "narration", "duration_s"])?;
        let image_prompt = self.text(object, &at, "image_prompt");
        let narration = self.text(object, &at, "narration");
        let duration_ms = self.duration(object, &at);
        Some(Scene {
            image_prompt: image_prompt?,
            narration: narration?,
            duration_ms: duration_ms?,
        })
    }

    fn duration(&mut self, object: &Map<String, Value>, at: &str) -> Option<u64> {
        let pointer = format!("{at}/duration_s");
        let Some(number) = self.field(object, at, "duration_s")?.as_number() else {
            self.fault(&pointer, "must be a number of seconds");
            return None;
        };
        let duration_ms = seconds::to_ms(&number.to_string());
        if duration_ms.is_none() {
            self.fault(&pointer, "must be between 0.5 and 600 seconds");
        }
        duration_ms
    }

    fn object<'a>(
        &mut self,
        value: &'a Value,
        at: &str,
        known: &[&str],
    ) -> Option<&'a Map<String, Value>> {
        let Some(object) = value.as_object() else {
            self.fault(at, "must be an object");
            return None;
        };
        let unknown: Vec<&String> =
            object.keys().filter(|name| !known.contains(&name.as_str())).collect();
        for name in unknown.iter().take(UNKNOWN_FIELDS_NAMED_MAX) {
            self.fault(&format!("{at}/{}", escaped(name)), "is not a known field");
        }
        if unknown.len() > UNKNOWN_FIELDS_NAMED_MAX {
            self.fault(at, &format!("has {} unknown fields", unknown.len()));
        }
        Some(object)
    }

    fn field<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        at: &str,
        name: &str,
    ) -> Option<&'a Value> {
        let value = object.get(name);
        if value.is_none() {
            self.fault(&format!("{at}/{name}"), "is required");
        }
        value
    }

    fn text(&mut self, object: &Map<String, Value>, at: &str, name: &str) -> Option<String> {
        let text = self.field(object, at, name)?.as_str();
        if text.is_none() {
            self.fault(&format!("{at}/{name}"), "must be a text");
        }
        text.map(str::to_owned)
    }

    fn one_of<T: Copy>(
        &mut self,
        object: &Map<String, Value>,
        name: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let text = self.field(object, "", name)?.as_str();
        let found = choices.iter().find(|(choice, _)| Some(*choice) == text);
        if found.is_none() {
            let names: Vec<String> =
                choices.iter().map(|(choice, _)| format!("`{choice}`")).collect();
            self.fault(&format!("/{name}"), &format!("must be one of {}", names.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    fn fault(&mut self, pointer: &str, detail: &str) {
        fault(&mut self.errors, pointer, detail);
    }
}

/// Escapes a field's name for a JSON pointer and cuts it to a length fit for an answer.
fn escaped(name: &str) -> String {
    let short: String = name.chars().take(FIELD_NAME_CHARS_MAX).collect();
    short.replace('~', "~0").replace('/', "~1")
}
