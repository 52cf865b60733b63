//! How long the stages of one message's way took.

use std::time::Duration;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Stage;

/// Microseconds for each stage that was met; the same stage met twice counts together. As JSON: an
/// object of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    micros: [Option<u64>; Stage::ALL.len()],
}

impl Times {
    /// A stage was met, and took so long.
    pub fn add(&mut self, stage: Stage, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let sum = &mut self.micros[stage.index()];
        *sum = Some(sum.unwrap_or(0).saturating_add(took));
    }

    /// Adds what was measured elsewhere, which begins afresh.
    pub fn take(&mut self, other: &mut Self) {
        for (stage, took) in std::mem::take(other).iter() {
            self.add(stage, took);
        }
    }

    /// No stage was met.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.micros.iter().all(Option::is_none)
    }

    /// The stages that were met, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> {
        let met = Stage::ALL.into_iter().zip(self.micros);
        met.filter_map(|(stage, took)| Some((stage, Duration::from_micros(took?))))
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (stage, took) in self.iter() {
            map.serialize_entry(stage.name(), &took.as_secs_f64())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;
        impl<'de> Visitor<'de> for Seconds {
            type Value = Times;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("seconds by stage")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Times, A::Error> {
                let mut times = Times::default();
                while let Some((name, seconds)) = map.next_entry::<String, f64>()? {
                    // A stage of a later version has no place here.
                    if let (Ok(stage), Ok(took)) =
                        (name.parse(), Duration::try_from_secs_f64(seconds))
                    {
                        times.add(stage, took);
                    }
                }
                Ok(times)
            }
        }
        deserializer.deserialize_map(Seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_add_up_and_survive_json() {
        let mut times = Times::default();
        times.add(Stage::Connect, Duration::from_micros(1500));
        times.add(Stage::Dns, Duration::ZERO);
        let mut other = times;
        times.take(&mut other);
        assert_eq!(other, Times::default());
        let text = serde_json::to_string(&times).unwrap();
        assert_eq!(text, r#"{"dns":0.0,"connect":0.003}"#);
        assert_eq!(serde_json::from_str::<Times>(&text).unwrap(), times);
        let later = r#"{"connect":0.003,"dns":0,"unheard_of":1.0}"#;
        assert_eq!(serde_json::from_str::<Times>(later).unwrap(), times);
    }
}
