//! THREAD (RFC 5256 §3): messages in trees, by subject alone or by their references.

use std::collections::HashMap;

use super::search::Facts;
use super::sort;
use super::summary::Summary;

/// What THREAD looks at of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the answer calls it: a number or a UID.
    pub name: u32,
    sent: i64,
    base: String,
    is_reply: bool,
    id: String,
    references: Vec<String>,
}

impl Member {
    /// A message.
    #[must_use]
    pub fn new(name: u32, facts: &Facts, summary: &Summary) -> Self {
        let (base, is_reply) = summary.base_subject();
        Self {
            name,
            sent: sort::sent(facts, summary),
            base,
            is_reply,
            id: summary.id.clone(),
            references: summary.references.clone(),
        }
    }
}

/// A tree: a message, or a place where one is missing, and what follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: Option<usize>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// ORDEREDSUBJECT: all with one base subject are one thread, the first its root.
#[must_use]
pub fn by_subject(members: &[Member]) -> String {
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_key(|member| (member.sent, member.name));
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut threads: Vec<Vec<u32>> = Vec::new();
    for member in order {
        let place = *places.entry(&member.base).or_insert(threads.len());
        if place == threads.len() {
            threads.push(Vec::new());
        }
        threads[place].push(member.name);
    }
    let mut out = String::new();
    for thread in threads {
        let names: Vec<String> = thread.iter().map(u32::to_string).collect();
        match &*names {
            [root, only] => out.push_str(&format!("({root} {only})")),
            [root, children @ ..] => {
                out.push_str(&format!("({root}"));
                if !children.is_empty() {
                    out.push(' ');
                }
                for child in children {
                    out.push_str(&format!("({child})"));
                }
                out.push(')');
            }
            [] => {}
        }
    }
    out
}

/// REFERENCES.
#[must_use]
pub fn by_references(members: &[Member]) -> String {
    let mut forest = Forest::new(members);
    forest.link();
    let mut roots = forest.pruned_roots();
    forest.sort(&mut roots);
    let mut roots = forest.gather_subjects(roots);
    for root in &roots {
        forest.sort_below(*root);
    }
    forest.sort(&mut roots);
    let mut out = String::new();
    for root in roots {
        forest.write(&mut out, root);
    }
    out
}

struct Forest<'a> {
    members: &'a [Member],
    nodes: Vec<Node>,
    by_id: HashMap<&'a str, usize>,
}

impl<'a> Forest<'a> {
    fn new(members: &'a [Member]) -> Self {
        Self {
            members,
            nodes: Vec::new(),
            by_id: HashMap::new(),
        }
    }

    fn add(&mut self, member: Option<usize>) -> usize {
        self.nodes.push(Node {
            member,
            ..Node::default()
        });
        self.nodes.len() - 1
    }

    /// Step 1: every message under what it refers to last, and what it refers to in a chain.
    fn link(&mut self) {
        for at in 0..self.members.len() {
            let member = &self.members[at];
            let own = match self.by_id.get(&*member.id).copied() {
                Some(node) if !member.id.is_empty() && self.nodes[node].member.is_none() => {
                    self.nodes[node].member = Some(at);
                    node
                }
                // No id, or one that another message has: a message of its own.
                known => {
                    let node = self.add(Some(at));
                    if known.is_none() && !member.id.is_empty() {
                        self.by_id.insert(&member.id, node);
                    }
                    node
                }
            };
            let mut parent = None;
            for id in &member.references {
                let node = match self.by_id.get(&**id) {
                    Some(node) => *node,
                    None => {
                        let node = self.add(None);
                        self.by_id.insert(id, node);
                        node
                    }
                };
                if let Some(parent) = parent
                    && self.nodes[node].parent.is_none()
                {
                    self.put_under(node, parent);
                }
                parent = Some(node);
            }
            // Its own references say better than others' whose child it is.
            self.take_away(own);
            if let Some(parent) = parent {
                self.put_under(own, parent);
            }
        }
    }

    fn take_away(&mut self, node: usize) {
        if let Some(parent) = self.nodes[node].parent.take() {
            self.nodes[parent].children.retain(|child| *child != node);
        }
    }

    /// Unless that would make a ring.
    fn put_under(&mut self, node: usize, parent: usize) {
        // Who has no children is nobody's ancestor.
        let mut above =
            Some(parent).filter(|_| !self.nodes[node].children.is_empty() || node == parent);
        for _ in 0..ANCESTORS_MAX {
            match above {
                Some(at) if at == node => return,
                Some(at) => above = self.nodes[at].parent,
                None => break,
            }
        }
        if above.is_some() {
            return;
        }
        self.nodes[node].parent = Some(parent);
        self.nodes[parent].children.push(node);
    }

    /// Steps 2 and 3: the roots, without places that hold nothing: such a place goes, and its
    /// children take it, unless it is a root with several.
    fn pruned_roots(&mut self) -> Vec<usize> {
        let roots: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].parent.is_none())
            .collect();
        // Children first, without recursion: chains may be as long as the mailbox.
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut waiting = roots.clone();
        while let Some(node) = waiting.pop() {
            order.push(node);
            waiting.extend_from_slice(&self.nodes[node].children);
        }
        for node in order.into_iter().rev() {
            let mut kept = Vec::new();
            for child in std::mem::take(&mut self.nodes[node].children) {
                if self.nodes[child].member.is_some() {
                    kept.push(child);
                } else {
                    kept.append(&mut self.nodes[child].children);
                }
            }
            self.nodes[node].children = kept;
        }
        let mut pruned = Vec::new();
        for root in roots {
            match (self.nodes[root].member, &*self.nodes[root].children) {
                (None, []) => {}
                (None, [only]) => pruned.push(*only),
                _ => pruned.push(root),
            }
        }
        pruned
    }

    /// The message that decides where a tree stands: itself, or its first child.
    fn leader(&self, node: usize) -> Option<&'a Member> {
        let own = self.nodes[node].member;
        let child = self.nodes[node].children.first();
        let at = own.or_else(|| self.nodes[*child?].member)?;
        self.members.get(at)
    }

    /// Step 4 and 6: by the time of sending.
    fn sort(&mut self, nodes: &mut [usize]) {
        for node in nodes.iter() {
            if self.nodes[*node].member.is_none() {
                let mut children = std::mem::take(&mut self.nodes[*node].children);
                children.sort_by_key(|child| self.moment(*child));
                self.nodes[*node].children = children;
            }
        }
        nodes.sort_by_key(|node| self.moment(*node));
    }

    fn moment(&self, node: usize) -> (i64, u32) {
        self.leader(node)
            .map_or((i64::MAX, 0), |member| (member.sent, member.name))
    }

    fn sort_below(&mut self, root: usize) {
        let mut waiting = vec![root];
        while let Some(node) = waiting.pop() {
            let mut children = std::mem::take(&mut self.nodes[node].children);
            children.sort_by_key(|child| self.moment(*child));
            waiting.extend_from_slice(&children);
            self.nodes[node].children = children;
        }
    }

    /// Step 5: threads with one base subject are one thread.
    fn gather_subjects(&mut self, roots: Vec<usize>) -> Vec<usize> {
        let mut table: HashMap<&str, usize> = HashMap::new();
        for root in &roots {
            let Some(leader) = self.leader(*root).filter(|leader| !leader.base.is_empty()) else {
                continue;
            };
            match table.get(&*leader.base).copied() {
                None => {
                    table.insert(&leader.base, *root);
                }
                Some(other) => {
                    let other_is_real = self.nodes[other].member.is_some();
                    let other_is_reply = self.leader(other).is_some_and(|other| other.is_reply);
                    let is_dummy = self.nodes[*root].member.is_none();
                    if is_dummy && other_is_real
                        || other_is_reply && !leader.is_reply && (is_dummy || other_is_real)
                    {
                        table.insert(&leader.base, *root);
                    }
                }
            }
        }
        let mut gathered = Vec::new();
        let mut moved: HashMap<usize, usize> = HashMap::new();
        for root in roots {
            let leader = self.leader(root);
            let base = leader.map_or("", |leader| &leader.base);
            let is_reply = leader.is_some_and(|leader| leader.is_reply);
            let target = table
                .get(base)
                .map(|target| *moved.get(target).unwrap_or(target));
            match target {
                Some(target) if target != root && table.get(base) != Some(&root) => {
                    if let Some((from, to)) = self.merge(target, root, is_reply) {
                        moved.insert(from, to);
                    }
                }
                _ => gathered.push(root),
            }
        }
        gathered
            .iter()
            .map(|root| *moved.get(root).unwrap_or(root))
            .collect()
    }

    /// Joins `root` with the thread of its subject. Where the two become children of a new place,
    /// which place stands for the other thread now.
    fn merge(&mut self, target: usize, root: usize, root_is_reply: bool) -> Option<(usize, usize)> {
        let is_real = |forest: &Self, node: usize| forest.nodes[node].member.is_some();
        match (is_real(self, target), is_real(self, root)) {
            (false, false) => {
                let children = std::mem::take(&mut self.nodes[root].children);
                self.nodes[target].children.extend(children);
                None
            }
            (false, true) => {
                self.nodes[target].children.push(root);
                None
            }
            (true, _) => {
                let target_is_reply = self.leader(target).is_some_and(|leader| leader.is_reply);
                if root_is_reply && !target_is_reply {
                    self.nodes[target].children.push(root);
                    return None;
                }
                let place = self.add(None);
                self.nodes[place].children = vec![target, root];
                Some((target, place))
            }
        }
    }

    /// A tree in parentheses. Without recursion, for the same reason.
    fn write(&self, out: &mut String, root: usize) {
        enum Task {
            Open(usize),
            Go(usize),
            Close,
        }
        let mut tasks = vec![Task::Open(root)];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Open(node) => {
                    out.push('(');
                    tasks.push(Task::Close);
                    tasks.push(Task::Go(node));
                }
                Task::Go(node) => {
                    let node = &self.nodes[node];
                    if let Some(member) = node.member.and_then(|at| self.members.get(at)) {
                        if !out.ends_with('(') {
                            out.push(' ');
                        }
                        out.push_str(&member.name.to_string());
                    }
                    match &*node.children {
                        [] => {}
                        [only] => tasks.push(Task::Go(*only)),
                        children => {
                            if !out.ends_with('(') {
                                out.push(' ');
                            }
                            tasks.extend(children.iter().rev().map(|child| Task::Open(*child)));
                        }
                    }
                }
                Task::Close => out.push(')'),
            }
        }
    }
}

/// How far up a ring is looked for. A thread longer than this falls into pieces.
const ANCESTORS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: u32, subject: &str, id: &str, references: &[&str]) -> Member {
        let (base, is_reply) = crate::imap::subject::base(subject);
        Member {
            name,
            sent: i64::from(name),
            base,
            is_reply,
            id: id.to_owned(),
            references: references.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[test]
    fn by_subject_the_first_is_the_root() {
        let members = [
            member(1, "a", "", &[]),
            member(2, "b", "", &[]),
            member(3, "Re: a", "", &[]),
            member(4, "Re: a", "", &[]),
            member(5, "c", "", &[]),
            member(6, "Re: c", "", &[]),
        ];
        assert_eq!(by_subject(&members), "(1 (3)(4))(2)(5 6)");
        assert_eq!(by_subject(&[]), "");
    }

    #[test]
    fn references_make_trees() {
        let members = [
            member(1, "a", "1", &[]),
            member(2, "Re: a", "2", &["1"]),
            member(3, "Re: a", "3", &["1", "2"]),
            member(4, "Re: a", "4", &["1"]),
            member(5, "b", "5", &[]),
        ];
        assert_eq!(by_references(&members), "(1 (2 3)(4))(5)");
    }

    #[test]
    fn what_is_missing_holds_its_children_together() {
        let members = [
            member(2, "Re: a", "2", &["1"]),
            member(3, "Re: b", "3", &["1"]),
            member(4, "x", "4", &["9"]),
        ];
        assert_eq!(by_references(&members), "((2)(3))(4)");
    }

    #[test]
    fn threads_of_one_subject_are_joined() {
        let members = [
            member(1, "a", "1", &[]),
            member(2, "Re: a", "2", &[]),
            member(3, "b", "3", &[]),
            member(4, "b", "4", &[]),
            member(5, "Re: c", "5", &[]),
            member(6, "c", "6", &[]),
        ];
        assert_eq!(by_references(&members), "(1 2)((3)(4))(6 5)");
    }

    #[test]
    fn rings_and_doubles_do_no_harm() {
        let members = [
            member(1, "a", "1", &["2"]),
            member(2, "b", "2", &["1"]),
            member(3, "c", "2", &["2"]),
            member(4, "d", "4", &["4"]),
        ];
        let found = by_references(&members);
        for name in ["1", "2", "3", "4"] {
            assert_eq!(found.matches(name).count(), 1, "{found}");
        }
    }

    #[test]
    fn a_chain_as_long_as_the_mailbox_needs_no_stack() {
        let members: Vec<Member> = (1..20_000)
            .map(|name| member(name, "a", &name.to_string(), &[&(name - 1).to_string()]))
            .collect();
        let found = by_references(&members);
        assert!(found.starts_with("(1 2 3 4 5"), "{}", &found[..100]);
        assert_eq!(found.matches('(').count(), 1);
    }

    proptest::proptest! {
        #[test]
        fn nobody_is_lost_or_doubled(
            drafts in proptest::collection::vec((0_u8..4, proptest::bool::ANY, 0_u8..8, proptest::collection::vec(0_u8..8, 0..4)), 0..12)
        ) {
            let members: Vec<Member> = drafts.iter().enumerate().map(|(at, (subject, reply, id, references))| {
                let subject = format!("{}{subject}", if *reply { "Re: " } else { "" });
                let references: Vec<String> = references.iter().map(u8::to_string).collect();
                let references: Vec<&str> = references.iter().map(|id| &**id).collect();
                member(u32::try_from(at).unwrap() + 100, &subject, &id.to_string(), &references)
            }).collect();
            for found in [by_references(&members), by_subject(&members)] {
                for member in &members {
                    proptest::prop_assert_eq!(found.matches(&member.name.to_string()).count(), 1, "{}", found);
                }
                proptest::prop_assert_eq!(found.matches('(').count(), found.matches(')').count());
            }
        }
    }
}
