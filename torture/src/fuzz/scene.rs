// SPDX-License-Identifier: GPL-2.0-only

//! The namespaces and the callers of a run, and their model.

use super::{
    caller::{OTHER_USER, Worker, unborn},
    model::{Init, Model, Namespace, UserNamespace},
};
use anyhow::{Context, Result};
use fastrand::Rng;
use ns_last_pid::raw;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};
use testbed::{Level, Nest, pids_of};

nix::ioctl_none!(ns_get_userns, raw::NSIO, 1);

/// Small ones, with which allocation wraps soon, up to the largest possible one.
pub const PID_MAX: [i32; 8] = [301, 302, 999, 1000, 4096, 32768, 99_999, PID_MAX_LIMIT];
const PID_MAX_LIMIT: i32 = 4_194_304;
/// No nest can be deeper.
const DEPTH_MAX: usize = 32;
const CALLERS_PER_NEST: usize = 4;

/// A caller, and its pid and user namespace in the model.
pub struct Placed {
    pub worker: Worker,
    pub own: usize,
    pub user: usize,
    pub nest: Option<usize>,
}

/// Fields are dropped in this order.
pub struct Scene {
    /// The first is outside.
    pub callers: Vec<Placed>,
    pub nests: Vec<Placing>,
    /// Namespaces of the model, in its order.
    pub files: Vec<File>,
}

/// A nest, and the indices of its namespaces in the model, level 0 first.
pub struct Placing {
    pub nest: Nest,
    pub levels: Vec<usize>,
    /// The deepest level that is alive.
    pub tip: usize,
}

/// The kinds of nests, and the depth at which one ends.
fn shapes(rng: &mut Rng) -> Vec<(Vec<Level>, Option<usize>)> {
    let owned = |depth: usize, owners: &[(usize, u32)]| {
        let mut levels = vec![Level::default(); depth];
        for &(at, owner) in owners {
            levels[at - 1].owner = Some(owner);
        }
        levels
    };
    let mut shapes = vec![
        (owned(1, &[]), None),
        (owned(DEPTH_MAX, &[]), None),
        (owned(8, &[(4, 0), (7, 0)]), None),
        (owned(5, &[(2, OTHER_USER)]), None),
        (owned(DEPTH_MAX, &[(1, 0), (17, 0)]), None),
        (owned(3, &[]), Some(2)),
        (owned(6, &[(3, 0)]), Some(6)),
    ];
    for level in shapes.iter_mut().flat_map(|(levels, _)| levels) {
        level.pid_max = rng.choice(PID_MAX);
    }
    shapes
}

/// The user namespace that owns a namespace.
fn owner(ns: &File) -> nix::Result<OwnedFd> {
    // SAFETY: There is no argument.
    let fd = unsafe { ns_get_userns(ns.as_raw_fd()) }?;
    // SAFETY: The file descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Scene {
    pub fn new(rng: &mut Rng) -> Result<(Self, Model)> {
        let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max")?;
        let mut model = Model::default();
        model.users.push(UserNamespace {
            parent: None,
            owner: 0,
        });
        model.add(None, 0, pid_max.trim().parse()?);
        let mut scene = Scene {
            callers: Vec::new(),
            nests: Vec::new(),
            files: vec![File::open("/proc/self/ns/pid")?],
        };
        let shapes = shapes(rng);
        for (levels, ends) in &shapes {
            scene.add_nest(&mut model, levels, *ends)?;
        }
        // All files are open now, so the callers inherit them.
        for nest in 0..scene.nests.len() {
            for _ in 0..CALLERS_PER_NEST {
                scene.add_caller(&mut model, nest, rng)?;
            }
        }
        for (Placing { nest, levels, .. }, (_, ends)) in scene.nests.iter().zip(&shapes) {
            if let Some(depth) = ends {
                nest.end(*depth)?;
            }
            for &init in &nest.inits {
                model.occupy(levels, &pids_of(init));
            }
        }
        // Last, so that no other caller has a copy of its socket.
        let outside = &scene.nests.first().context("no nest")?.nest;
        let worker = Worker::new(outside, 0, None)?;
        scene.callers.insert(
            0,
            Placed {
                worker,
                own: 0,
                user: 0,
                nest: None,
            },
        );
        Ok((scene, model))
    }

    fn add_nest(&mut self, model: &mut Model, shape: &[Level], ends: Option<usize>) -> Result<()> {
        let nest = Nest::of(shape)?;
        let mut levels = vec![0];
        let (mut user, mut uid) = (0, 0);
        for (depth, level) in (1..).zip(shape) {
            if let Some(owner) = level.owner {
                // Root of a user namespace is the user who created it.
                uid = if owner == 0 { uid } else { owner };
                let parent = Some(user);
                model.users.push(UserNamespace { parent, owner: uid });
                user = model.users.len() - 1;
            }
            let pid_max = level.pid_max.unwrap_or(PID_MAX_LIMIT);
            levels.push(model.add(levels.last().copied(), user, pid_max));
            if ends.is_some_and(|end| depth >= end) {
                model.namespaces[levels[depth]].init = Init::Dead;
            }
            self.files.push(nest.namespaces[depth].try_clone()?);
        }
        let tip = ends.map_or(shape.len(), |end| end - 1);
        if ends.is_none() && tip < DEPTH_MAX {
            let owner = owner(&nest.namespaces[tip])?;
            let inside = (user != 0).then_some(&owner);
            self.files.push(unborn(&nest, tip, inside)?);
            levels.push(model.add(Some(levels[tip]), user, PID_MAX_LIMIT));
            model.namespaces[levels[tip + 1]].init = Init::Unborn;
        }
        let tip = levels[tip];
        self.nests.push(Placing { nest, levels, tip });
        Ok(())
    }

    fn add_caller(&mut self, model: &mut Model, nest: usize, rng: &mut Rng) -> Result<()> {
        let Placing {
            nest: files,
            levels,
            tip,
        } = &self.nests[nest];
        let alive = model.upward(*tip).count();
        let (depth, user_depth) = (rng.usize(..alive), rng.usize(..alive));
        let user = model.namespaces[levels[user_depth]].user;
        let file = match user {
            0 => None,
            _ => Some(owner(&files.namespaces[user_depth])?),
        };
        let worker = Worker::new(files, depth, file.as_ref())?;
        model.occupy(levels, &pids_of(worker.pid));
        self.callers.push(Placed {
            worker,
            own: levels[depth],
            user,
            nest: Some(nest),
        });
        Ok(())
    }
}

impl Model {
    fn add(&mut self, parent: Option<usize>, user: usize, pid_max: i32) -> usize {
        self.namespaces.push(Namespace {
            parent,
            user,
            pid_max,
            last_pid: 0,
            init: Init::Alive,
            used: BTreeSet::new(),
        });
        self.namespaces.len() - 1
    }

    /// Marks the pids of a task that stays, from level 0 downward. `used()` looks up those of level 0.
    fn occupy(&mut self, levels: &[usize], pids: &[i32]) {
        for (&at, &pid) in levels.iter().zip(pids).skip(1) {
            self.namespaces[at].used.insert(pid);
        }
    }
}
