// SPDX-License-Identifier: GPL-2.0-only

//! Makes up calls. Most are close to one that succeeds, some are not.

use super::model::{Call, Model, Target, size_of_struct};
use super::{
    caller::Privilege,
    memory::{Area, Arg, Memory, NOWHERE},
    scene::Scene,
};
use fastrand::Rng;
use ns_last_pid::{LEVELS_MAX, raw};

/// A byte of the text that another thread changes back and forth.
#[derive(Clone, Copy, Debug)]
pub struct Rewritten {
    pub offset: usize,
    pub bytes: [u8; 2],
}

#[derive(Debug)]
pub struct Made {
    pub call: Call,
    /// The index of its caller.
    pub by: usize,
    pub privilege: Privilege,
    /// The nest of the target, whose last pids are compared.
    pub nest: usize,
    pub rewritten: Option<Rewritten>,
    /// By a 32-bit system call.
    pub compat: bool,
}

pub fn make(
    rng: &mut Rng,
    scene: &Scene,
    others: usize,
    model: &Model,
    memory: &mut Memory,
) -> Made {
    let nest = rng.usize(..scene.nests.len());
    let levels = &scene.nests[nest].levels;
    let namespace = match rng.u8(..4) {
        0 => scene.nests[nest].tip,
        _ => levels[rng.usize(..levels.len())],
    };
    let target = match rng.u8(..100) {
        0 => Target::Other(rng.usize(..others)),
        _ => Target::Pid(namespace),
    };
    let any = rng.usize(..scene.callers.len());
    let by = match rng.u8(..8) {
        0..4 => 0,
        4..7 => {
            let mut same_nest = (any..scene.callers.len()).chain(0..any);
            same_nest
                .find(|&by| scene.callers[by].nest == Some(nest))
                .unwrap_or(any)
        }
        _ => any,
    };
    let placed = &scene.callers[by];
    let privilege = match rng.u8(..100) {
        0..70 => Privilege::All,
        70..76 => Privilege::Nothing,
        76..86 => Privilege::CheckpointRestore,
        86..90 => Privilege::SysAdmin,
        90..93 => Privilege::TheseTwo,
        93..96 => Privilege::AllButThese,
        // A nested user namespace does not map that user.
        _ if placed.user == 0 => Privilege::OtherUser,
        _ => Privilege::Nothing,
    };
    let caller = privilege.caller(placed.own, placed.user);
    let cmd = command(rng);

    let mut rewritten = None;
    let req = match rng.u8(..100) {
        0..74 => raw::PIDNS_REQ_SET_LAST_PID_VEC,
        74..97 => raw::PIDNS_REQ_GET_LAST_PID_VEC,
        97 => 0,
        98 => rng.u32(3..8),
        _ => rng.u32(..),
    };
    let (data_size, data) = match req {
        raw::PIDNS_REQ_GET_LAST_PID_VEC => {
            let exact = model.text(namespace, caller).len() as u32 + 1;
            let size = match rng.u8(..16) {
                0..6 => raw::PIDNS_LAST_PID_VEC_MAX,
                6..9 => exact,
                9..12 => (exact + 3).saturating_sub(rng.u32(..7)),
                12 => rng.u32(..16),
                13 => raw::PIDNS_LAST_PID_VEC_MAX + 1,
                14 => u32::MAX - rng.u32(..2),
                _ => rng.u32(..600),
            };
            let end = if rng.bool() { exact } else { size };
            let place = place(rng, Area::Data, end.min(4096) as usize);
            (size, place.address)
        }
        _ => {
            let mut text = text(rng, model, namespace);
            let size = data_size(rng, &mut text);
            let end = match rng.u8(..4) {
                0 => text.len(),
                _ => size.min(4096) as usize,
            };
            let place = place(rng, Area::Data, end);
            if let Some(offset) = place.offset {
                memory.put(Area::Data, offset, &text);
                let seen = text
                    .len()
                    .min(size as usize)
                    .min(Area::Data.size() - offset);
                if seen > 0 && rng.u8(..100) == 0 {
                    let at = rng.usize(..seen);
                    rewritten = Some(Rewritten {
                        offset: offset + at,
                        bytes: [text[at], telling_byte(rng)],
                    });
                }
            }
            (size, place.address)
        }
    };

    let mut arg = Arg {
        req,
        data_size,
        data,
    };
    if rng.u8(..64) == 0 {
        // This struct does not point to the program's own memory.
        arg = bytemuck::cast([rng.u64(..) & !0xfffc, rng.u64(..) | 1 << 63]);
        if rng.bool() {
            arg.req = rng.u32(1..3);
        }
    }
    let arg = bytemuck::bytes_of(&arg);
    let size = size_of_struct(cmd) as usize;
    let place = match rng.u8(..4) {
        0 => place(rng, Area::Args, size),
        _ => Place::inside(rng, Area::Args, size.max(arg.len()), true),
    };
    if let Some(offset) = place.offset {
        if size > arg.len() && rng.bool() {
            // The last of these is behind the struct.
            let byte = rng.usize(arg.len()..=size);
            if offset + byte < Area::Args.size() {
                memory.put(Area::Args, offset + byte, &[rng.u8(1..)]);
            }
        }
        memory.put(Area::Args, offset, arg);
    }
    let compat = rng.u8(..8) == 0;
    Made {
        call: Call {
            target,
            caller,
            cmd,
            arg: match compat {
                true => place.address & u64::from(u32::MAX),
                false => place.address,
            },
        },
        by,
        privilege,
        nest,
        rewritten,
        compat,
    }
}

fn command(rng: &mut Rng) -> u32 {
    let plain = raw::NS_SPECIFIC_IOC;
    let with_size = |size: u32| plain & !(0x3fff << 16) | size << 16;
    let with_dir = |dir: u32| plain & !(3 << 30) | dir << 30;
    match rng.u8(..100) {
        0 => with_size(rng.u32(..16)),
        1 => with_dir([0, 1, 2][rng.usize(..3)]),
        2 | 3 => with_size(rng.u32(17..64)),
        4 => with_size(rng.u32(64..=0x3fff)),
        5 => with_size([24, 32, 4095, 4096, 4097, 8192, 0x3fff][rng.usize(..7)]),
        _ => plain,
    }
}

struct Place {
    address: u64,
    /// Its offset in the area. None if the address is unreadable.
    offset: Option<usize>,
}

impl Place {
    fn at(area: Area, offset: usize, writable: bool) -> Self {
        Place {
            address: area.address(writable, offset),
            offset: Some(offset),
        }
    }

    fn inside(rng: &mut Rng, area: Area, length: usize, writable: bool) -> Self {
        let offset = rng.usize(..=area.size() - length);
        let aligned = if rng.bool() { offset & !7 } else { offset };
        Place::at(area, aligned, writable)
    }
}

/// A place for `length` bytes.
fn place(rng: &mut Rng, area: Area, length: usize) -> Place {
    let end = area.size() - length;
    match rng.u8(..100) {
        0..78 => Place::inside(rng, area, length, true),
        78..86 => Place::at(area, end, true),
        86..89 => Place::inside(rng, area, length, false),
        89..91 => Place::at(area, end, false),
        91..95 => Place::at(area, area.size() - rng.usize(..=length), rng.u8(..4) != 0),
        _ => {
            let address = NOWHERE[rng.usize(..NOWHERE.len())];
            Place {
                address,
                offset: None,
            }
        }
    }
}

/// Any byte, but mostly one that a parser might accept by mistake, or a neighbour of an allowed one.
fn telling_byte(rng: &mut Rng) -> u8 {
    match rng.u8(..4) {
        0 => rng.u8(..),
        1 => rng.u8(b'0'..=b'9'),
        _ => b"+- \t\n\r\0:;/.,xXaA_%\x0b\x80\xb0"[rng.usize(..21)],
    }
}

fn valid_number(rng: &mut Rng, pid_max: i32) -> String {
    let number = match rng.u8(..12) {
        0 => pid_max,
        1 => pid_max - rng.i32(0..4),
        2 => rng.i32(0..3),
        3 => rng.i32(298..303).min(pid_max),
        4..8 => rng.i32(0..2000).min(pid_max),
        _ => rng.i32(0..=pid_max),
    };
    let zeros = match rng.u8(..16) {
        0 => rng.usize(..6),
        _ => 0,
    };
    format!("{}{number}", "0".repeat(zeros))
}

fn large_number(rng: &mut Rng, pid_max: i32) -> String {
    let bound = match rng.u8(..8) {
        0..4 => return (i64::from(pid_max) + 1 + rng.i64(0..3)).to_string(),
        4 => i32::MAX as u128,
        5 => u32::MAX as u128,
        6 => i64::MAX as u128,
        _ => u64::MAX as u128,
    };
    match rng.u8(..4) {
        // Its lower 32 bits alone are a valid number.
        0 => bound + 1 + rng.u128(..300),
        1 => rng.u128(bound..),
        _ => bound + 2 - rng.u128(..4),
    }
    .to_string()
}

fn text(rng: &mut Rng, model: &Model, namespace: usize) -> Vec<u8> {
    let pid_max: Vec<_> = model
        .upward(namespace)
        .map(|at| model.namespaces[at].pid_max)
        .collect();
    let levels = pid_max.len();
    let count = match rng.u8(..32) {
        0 => levels + 1,
        1 => rng.usize(1..=LEVELS_MAX + 1),
        2..12 => levels,
        12..20 => 1,
        _ => rng.usize(1..=levels),
    };
    let mut numbers: Vec<_> = (0..count)
        .map(|level| valid_number(rng, pid_max.get(level).copied().unwrap_or(400)))
        .collect();
    let at = rng.usize(..count);
    let mut defect = Vec::new();
    match rng.u8(..100) {
        0..70 => {}
        70..76 => numbers[at] = large_number(rng, pid_max.get(at).copied().unwrap_or(400)),
        76..79 => numbers[at].clear(),
        79 => numbers.insert(0, String::new()),
        80 => numbers.push(String::new()),
        81 => {
            let more = LEVELS_MAX + 1 + rng.usize(..3) - count.min(LEVELS_MAX);
            numbers.extend(vec!["1".into(); more]);
        }
        82..85 => {
            let size = raw::PIDNS_LAST_PID_VEC_MAX as usize - 1 + rng.usize(..3);
            let missing = size.saturating_sub(numbers.join(":").len());
            numbers[at].insert_str(0, &"0".repeat(missing));
        }
        85 => return (0..rng.usize(..64)).map(|_| rng.u8(..)).collect(),
        86 => return (0..rng.usize(..64)).map(|_| telling_byte(rng)).collect(),
        87..90 => defect.push(telling_byte(rng)),
        90 => numbers[at].insert(
            0,
            *rng.choice(&['+', '-', ' ', '\n', '\t', '\0'])
                .unwrap_or(&' '),
        ),
        91 => numbers[at].push(*rng.choice(&[' ', '\n', 'a', '\0', '.']).unwrap_or(&' ')),
        92 => numbers[at].insert_str(0, "0x"),
        _ => {}
    }
    let mut text = numbers.join(":").into_bytes();
    for byte in defect {
        match rng.bool() {
            true => text.insert(rng.usize(..=text.len()), byte),
            false => {
                let at = rng.usize(..text.len().max(1));
                if let Some(place) = text.get_mut(at) {
                    *place = byte;
                }
            }
        }
    }
    text
}

/// The `data_size` for `text`, to which NULs may be added.
fn data_size(rng: &mut Rng, text: &mut Vec<u8>) -> u32 {
    let length = text.len() as u32;
    match rng.u8(..100) {
        0..84 => length,
        84..91 => {
            text.push(0);
            length + 1
        }
        91 => {
            text.extend([0, 0]);
            length + 2
        }
        92..95 => rng.u32(..=length),
        95 => length + rng.u32(1..16),
        96 => raw::PIDNS_LAST_PID_VEC_MAX,
        97 => raw::PIDNS_LAST_PID_VEC_MAX + 1,
        98 => *rng.choice(&[0, u32::MAX, 1 << 31, 4096]).unwrap_or(&0),
        _ => rng.u32(..),
    }
}
