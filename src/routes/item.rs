//! Reads an amount of a meter. By hand, because a derived reader also takes a list for an object.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::schema::ItemBody;

const FIELDS: &[&str] = &["meter", "amount"];

impl<'de> Deserialize<'de> for ItemBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = ItemBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `meter` and `amount`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ItemBody, A::Error> {
        let (mut meter, mut amount) = (None, None);
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match name.as_ref() {
                "meter" if meter.is_none() => meter = Some(map.next_value()?),
                "amount" if amount.is_none() => amount = Some(map.next_value()?),
                "meter" => return Err(A::Error::duplicate_field("meter")),
                "amount" => return Err(A::Error::duplicate_field("amount")),
                other => return Err(A::Error::unknown_field(other, FIELDS)),
            }
        }
        Ok(ItemBody {
            meter: meter.ok_or_else(|| A::Error::missing_field("meter"))?,
            amount: amount.ok_or_else(|| A::Error::missing_field("amount"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ItemBody, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn only_an_object_with_both_fields_is_an_item() {
        assert_eq!(read(r#"{"amount":3,"meter":"images"}"#).unwrap().amount, 3);
        for bad in [
            r#"["images",3]"#,
            r#"{"meter":"images"}"#,
            r#"{"meter":"images","amount":1,"amount":2}"#,
            r#"{"meter":"images","amount":1,"x":1}"#,
            r#"{"meter":"images","amount":-1}"#,
            r#"{"meter":"images","amount":1.0}"#,
            r#"{"meter":null,"amount":1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
