// SPDX-License-Identifier: GPL-2.0-only

//! The memory that the requests point into: two areas, each mapped once writable and once read-only, with unreadable
//! memory around them. An image has the bytes that they should hold.

use anyhow::Result;
use bytemuck::{Pod, Zeroable, pod_read_unaligned};
use nix::{
    sys::{
        memfd::{MFdFlags, memfd_create},
        mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
    },
    unistd::ftruncate,
};
use std::{ffi::c_void, num::NonZeroUsize, ptr::NonNull, slice};

const PAGE: usize = 4096;
/// Within reach of a 32-bit address.
const BASE: usize = 0x2000_0000;
const PAGES: usize = 18;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Texts and buffers. Filled with [`FILL`].
    Data,
    /// Structs. Filled with zeros.
    Args,
}

/// `struct ns_specific_req`
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Arg {
    pub req: u32,
    pub data_size: u32,
    pub data: u64,
}

pub const FILL: u8 = 0xa5;

impl Area {
    pub const fn size(self) -> usize {
        match self {
            Area::Data => 2 * PAGE,
            Area::Args => 5 * PAGE,
        }
    }

    const fn file_offset(self) -> usize {
        match self {
            Area::Data => 0,
            Area::Args => Area::Data.size(),
        }
    }

    const fn fill(self) -> u8 {
        match self {
            Area::Data => FILL,
            Area::Args => 0,
        }
    }

    pub const fn address(self, writable: bool, offset: usize) -> u64 {
        let page = match (self, writable) {
            (Area::Data, true) => 1,
            (Area::Data, false) => 4,
            (Area::Args, true) => 7,
            (Area::Args, false) => 13,
        };
        (BASE + page * PAGE + offset) as u64
    }
}

const FILE_SIZE: usize = Area::Data.size() + Area::Args.size();
const VIEWS: [(Area, bool); 4] = [
    (Area::Data, true),
    (Area::Data, false),
    (Area::Args, true),
    (Area::Args, false),
];

/// Unreadable addresses, one for each kind of place.
pub const NOWHERE: [u64; 18] = [
    0,
    1,
    16,
    0x5000,
    BASE as u64,
    Area::Data.address(true, Area::Data.size()),
    Area::Data.address(false, Area::Data.size()),
    Area::Args.address(true, Area::Args.size()),
    // Its lower 32 bits are a mapped address.
    Area::Data.address(true, 64) | 1 << 32,
    0x7fff_ffff_eff8,
    0x7fff_ffff_f000,
    0x8000_0000_0000,
    0xffff_8880_0000_0000,
    0xffff_ffff_8100_0000,
    0xffff_ffff_ff60_0000,
    0xffff_ffff_ffff_f000,
    0xffff_ffff_ffff_fff0,
    u64::MAX,
];

pub struct Memory {
    image: Vec<u8>,
    dirty: Vec<(Area, usize, usize)>,
}

impl Memory {
    pub fn new() -> Result<Self> {
        let file = memfd_create("fuzz", MFdFlags::empty())?;
        ftruncate(&file, FILE_SIZE as i64)?;
        let at = |address: usize| NonZeroUsize::new(address);
        let pages = |count: usize| NonZeroUsize::new(count * PAGE).unwrap_or(NonZeroUsize::MIN);
        let (none, fixed) = (ProtFlags::PROT_NONE, MapFlags::MAP_FIXED);
        let free = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
        // SAFETY: It replaces no other mapping.
        unsafe { mmap_anonymous(at(BASE), pages(PAGES + 1), none, free) }?;
        for (area, writable) in VIEWS {
            let prot = match writable {
                true => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                false => ProtFlags::PROT_READ,
            };
            let (place, size) = (
                area.address(writable, 0) as usize,
                pages(area.size() / PAGE),
            );
            let offset = area.file_offset() as i64;
            // SAFETY: It replaces a part of what was mapped above, to which no references exist.
            unsafe {
                mmap(
                    at(place),
                    size,
                    prot,
                    fixed | MapFlags::MAP_SHARED,
                    &file,
                    offset,
                )
            }?;
        }
        // Nothing is mapped behind the texts. The memory behind the other views is mapped without access.
        let hole = Area::Data.address(true, Area::Data.size()) as *mut c_void;
        if let Some(hole) = NonNull::new(hole) {
            // SAFETY: There are no references to this page of what was mapped above.
            unsafe { munmap(hole, PAGE) }?;
        }
        let mut memory = Memory {
            image: vec![0; FILE_SIZE],
            dirty: Vec::new(),
        };
        memory.put(Area::Data, 0, &[FILL; Area::Data.size()]);
        Ok(memory)
    }

    /// Writes those of `bytes` that fit in the area.
    pub fn put(&mut self, area: Area, offset: usize, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(area.size() - offset)];
        let place = area.address(true, offset) as *mut u8;
        // SAFETY: It is within the writable view, to which references exist only while `self` is borrowed.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.image[area.file_offset() + offset..][..bytes.len()].copy_from_slice(bytes);
        self.dirty.push((area, offset, bytes.len()));
    }

    /// Restores the initial bytes.
    pub fn clear(&mut self) {
        for (area, offset, length) in std::mem::take(&mut self.dirty) {
            let fill = [area.fill(); 1024];
            for start in (0..length).step_by(fill.len()) {
                self.put(
                    area,
                    offset + start,
                    &fill[..fill.len().min(length - start)],
                );
            }
        }
        self.dirty.clear();
    }

    /// Whether it holds the bytes of the image.
    pub fn is_intact(&self, area: Area) -> bool {
        let place = area.address(true, 0) as *const u8;
        // SAFETY: It is the writable view, and nobody writes there while `self` is borrowed.
        let bytes = unsafe { slice::from_raw_parts(place, area.size()) };
        bytes == &self.image[area.file_offset()..][..area.size()]
    }

    fn find(&self, address: u64, length: usize, write: bool) -> Option<(Area, usize)> {
        VIEWS.into_iter().find_map(|(area, writable)| {
            let offset = address.checked_sub(area.address(writable, 0))? as usize;
            let inside = offset < area.size() && length <= area.size() - offset;
            (inside && (writable || !write)).then_some((area, offset))
        })
    }

    /// The bytes that the kernel reads there.
    pub fn read(&self, address: u64, length: usize) -> Option<&[u8]> {
        let (area, offset) = self.find(address, length, false)?;
        Some(&self.image[area.file_offset() + offset..][..length])
    }

    /// The struct that the kernel reads there.
    pub fn arg(&self, address: u64) -> Option<Arg> {
        self.read(address, size_of::<Arg>()).map(pod_read_unaligned)
    }

    pub fn is_writable(&self, address: u64, length: usize) -> bool {
        self.find(address, length, true).is_some()
    }

    /// Notes that the kernel should have written `bytes` there. Returns the bytes before.
    pub fn written(&mut self, address: u64, bytes: &[u8]) -> Vec<u8> {
        let Some((area, offset)) = self.find(address, bytes.len(), true) else {
            return Vec::new();
        };
        self.dirty.push((area, offset, bytes.len()));
        let place = &mut self.image[area.file_offset() + offset..][..bytes.len()];
        let before = place.to_vec();
        place.copy_from_slice(bytes);
        before
    }
}
