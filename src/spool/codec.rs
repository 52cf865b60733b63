//! Values as octets, little-endian: what records are made of. Pure.

use crate::mail::envelope::{MtPriority, Notify, Priority, Standing};
use crate::mail::outcome::Diagnosis;
use crate::wire::status::EnhancedStatus;

pub(super) fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put_u32(out, u32::try_from(octets.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(octets);
}

/// Addresses and the like are bounded far below 64 KiB where they are parsed; what is free text
/// is cut.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_u16(out, count(end));
    out.extend_from_slice(&text.as_bytes()[..end]);
}

pub(super) fn put_places(out: &mut Vec<u8>, places: &[u16]) {
    put_u16(out, count(places.len()));
    for place in places {
        put_u16(out, *place);
    }
}

pub(super) fn put_diagnosis(out: &mut Vec<u8>, diagnosis: &Diagnosis) {
    out.push(diagnosis.status.class());
    put_u16(out, diagnosis.status.subject());
    put_u16(out, diagnosis.status.detail());
    put_text(out, &diagnosis.text);
    put_text(out, diagnosis.reply.as_deref().unwrap_or_default());
    put_text(out, diagnosis.remote_mta.as_deref().unwrap_or_default());
}

pub(super) fn put_standing(out: &mut Vec<u8>, standing: &Standing) {
    put_text(out, standing.tenant.as_deref().unwrap_or_default());
    put_text(out, standing.tag.as_deref().unwrap_or_default());
    let priority = match standing.priority {
        Priority::Normal => 0,
        Priority::High => 1,
        Priority::Low => 2,
    };
    match standing.mt_priority {
        Some(mt_priority) => {
            out.push(priority | MT_PRIORITY);
            out.push(mt_priority.value().cast_unsigned());
        }
        None => out.push(priority),
    }
}

pub(super) fn notify_bits(notify: Option<Notify>) -> u8 {
    notify.map_or(0, |notify| {
        NOTIFY_GIVEN
            | u8::from(notify.success) << 1
            | u8::from(notify.failure) << 2
            | u8::from(notify.delay) << 3
    })
}

pub(super) fn notify(bits: u8) -> Option<Notify> {
    (bits & NOTIFY_GIVEN != 0).then_some(Notify {
        success: bits & 2 != 0,
        failure: bits & 4 != 0,
        delay: bits & 8 != 0,
    })
}

/// Beside a priority: its MT-PRIORITY stands behind it.
const MT_PRIORITY: u8 = 16;
/// `NOTIFY=` was given.
const NOTIFY_GIVEN: u8 = 1;

/// Recipients are counted by 16 bits everywhere.
pub(super) fn count(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Reads values from the front; `None` where there is no such value.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn octets(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.take(len)?).ok()
    }

    pub(super) fn optional_text(&mut self) -> Option<Option<Box<str>>> {
        let text = self.text()?;
        Some((!text.is_empty()).then(|| text.into()))
    }

    pub(super) fn places(&mut self) -> Option<Vec<u16>> {
        let count = self.u16()?;
        (0..count).map(|_| self.u16()).collect()
    }

    pub(super) fn standing(&mut self) -> Option<Standing> {
        let (tenant, tag) = (self.optional_text()?, self.optional_text()?);
        let bits = self.u8()?;
        let mt_priority = match bits & MT_PRIORITY {
            0 => None,
            _ => Some(MtPriority::new(self.u8()?.cast_signed())?),
        };
        Some(Standing {
            tenant,
            tag,
            priority: match bits & !MT_PRIORITY {
                0 => Priority::Normal,
                1 => Priority::High,
                2 => Priority::Low,
                _ => return None,
            },
            mt_priority,
        })
    }

    pub(super) fn diagnosis(&mut self) -> Option<Diagnosis> {
        let (class, subject, detail) = (self.u8()?, self.u16()?, self.u16()?);
        if !matches!(class, 2 | 4 | 5) || subject > 999 || detail > 999 {
            return None;
        }
        Some(Diagnosis {
            status: EnhancedStatus::new(class, subject, detail),
            text: self.text()?.into(),
            reply: self.optional_text()?,
            remote_mta: self.optional_text()?,
        })
    }
}
