//! How it looks: drawn on a terminal, or the same as text.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Row as Cells, Sparkline, Table};

use super::{Totals, Watched};
use crate::cli::client::{Side, clean, table};
use crate::cli::latency::time;
use crate::cli::shards::{percent, state};
use crate::observe::ask::{Health, ShapeRow, ShardRow};
use crate::observe::stage::Row;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, watched: &Watched) {
    let shards = u16::try_from(watched.shards.len()).unwrap_or(u16::MAX);
    let [head, rates, middle, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(7),
        Constraint::Min(6),
        Constraint::Length(shards.saturating_add(3).min(frame.area().height / 3)),
    ])
    .areas(frame.area());
    frame.render_widget(ratatui::widgets::Paragraph::new(summary(watched)), head);
    draw_rates(frame, rates, watched);
    let [queue, stages] =
        Layout::horizontal([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(middle);
    draw_table(
        frame,
        queue,
        " Recipients waiting ",
        DESTINATION,
        destinations(watched),
    );
    draw_table(
        frame,
        stages,
        " Slowest stages of the last minute ",
        STAGE,
        slowest(watched),
    );
    draw_table(
        frame,
        foot,
        " Shards ",
        SHARD,
        watched.shards.iter().map(shard).collect(),
    );
}

/// All of it as text.
pub(super) fn text(watched: &Watched) -> String {
    let lines = summary(watched)
        .into_iter()
        .map(|line| line.to_string() + "\n");
    let tables = [
        table(DESTINATION, destinations(watched)),
        table(STAGE, slowest(watched)),
        table(SHARD, watched.shards.iter().map(shard)),
    ];
    format!("{}\n{}", lines.collect::<String>(), tables.join("\n"))
}

fn summary(watched: &Watched) -> Vec<Line<'static>> {
    let sum = |count: fn(&ShardRow) -> u64| watched.shards.iter().map(count).sum::<u64>();
    let worst = watched.shards.iter().map(|one| one.health);
    let worst = worst
        .max_by_key(|health| *health != Health::Ready)
        .unwrap_or_default();
    let rate = watched.rate();
    let state = match &watched.trouble {
        None if worst == Health::Ready => Span::from(state(worst)).green(),
        None => Span::from(state(worst)).red().bold(),
        Some(words) => {
            let first = words.lines().next().unwrap_or_default();
            Span::from(clean(first)).red().bold()
        }
    };
    vec![
        Line::from(vec![Span::from("ringpost ").bold(), state]),
        Line::from(format!(
            "{} accepted/s  {} delivered/s  {} failed/s  {} messages queued  {} clients  {} hosts  {} MiB",
            rate.accepted,
            rate.delivered,
            rate.failed,
            sum(|one| one.messages_queued),
            sum(|one| one.connections_in),
            sum(|one| one.connections_out),
            sum(|one| one.memory_used) / MIB,
        )),
    ]
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let halves = Layout::vertical([Constraint::Percentage(50), Constraint::Percentage(50)]);
    let columns = usize::from(area.width);
    let accepted: fn(&Totals) -> u64 = |one| one.accepted;
    let delivered: fn(&Totals) -> u64 = |one| one.delivered;
    let [upper, lower] = halves.areas(area);
    for (half, title, colour, value) in [
        (upper, " accepted a second, up to ", Color::Blue, accepted),
        (
            lower,
            " delivered a second, up to ",
            Color::Green,
            delivered,
        ),
    ] {
        let from = watched.rates.len().saturating_sub(columns);
        let values: Vec<u64> = watched.rates.iter().skip(from).map(value).collect();
        let most = values.iter().max().copied().unwrap_or(0);
        let strip = Sparkline::default()
            .block(Block::new().title(format!("{title}{most} ")))
            .style(Style::new().fg(colour))
            .data(values);
        frame.render_widget(strip, half);
    }
}

fn draw_table<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    heads: [(&'static str, Side); N],
    rows: Vec<[String; N]>,
) {
    let cells = |row: [String; N]| {
        let sided = row.into_iter().zip(heads).map(|(text, (_, side))| {
            let line = Line::from(clean(&text));
            Cell::from(match side {
                Side::Left | Side::State => line,
                Side::Right => line.right_aligned(),
            })
        });
        Cells::new(sided.collect::<Vec<_>>())
    };
    let widths: [Constraint; N] = std::array::from_fn(|at| {
        let texts = rows.iter().map(|row| row[at].chars().count());
        let width = texts.fold(heads[at].0.len(), usize::max);
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        match heads[at].1 {
            Side::Left | Side::State => Constraint::Min(width.min(LEFT_MAX)),
            Side::Right => Constraint::Length(width),
        }
    });
    let head = cells(heads.map(|(head, _)| head.to_owned())).style(Style::new().bold());
    let shown = Table::new(rows.into_iter().map(cells), widths)
        .header(head)
        .column_spacing(2)
        .block(Block::bordered().title(title));
    frame.render_widget(shown, area);
}

fn destinations(watched: &Watched) -> Vec<[String; 4]> {
    let total = |row: &ShapeRow| row.ages.iter().sum::<u64>();
    let waiting = watched.shape.iter().filter(|row| total(row) > 0);
    waiting
        .take(ROWS_MAX)
        .map(|row| {
            // All but the youngest.
            let old = total(row) - row.ages.first().copied().unwrap_or(0);
            [
                row.destination.clone(),
                total(row).to_string(),
                old.to_string(),
                row.remark(),
            ]
        })
        .collect()
}

fn slowest(watched: &Watched) -> Vec<[String; 5]> {
    let mut timed: Vec<&Row> = watched
        .stages
        .iter()
        .filter(|row| row.unit == "us")
        .collect();
    timed.sort_by_key(|row| std::cmp::Reverse(row.p99));
    let rows = timed.into_iter().take(ROWS_MAX).map(|row| {
        [
            row.stage.clone(),
            row.count.to_string(),
            time(row.p50),
            time(row.p99),
            time(row.max),
        ]
    });
    rows.collect()
}

fn shard(row: &ShardRow) -> [String; 8] {
    [
        row.shard.to_string(),
        row.cpu
            .map_or_else(|| "-".to_owned(), |cpu| cpu.to_string()),
        percent(row.recent.busy),
        percent(row.recent.on_cpu),
        row.connections_in.to_string(),
        row.connections_out.to_string(),
        row.messages_queued.to_string(),
        state(row.health).to_owned(),
    ]
}

const DESTINATION: [(&str, Side); 4] = [
    ("DESTINATION", Side::Left),
    ("WAIT", Side::Right),
    ("5 MIN+", Side::Right),
    // What it was found to take, as `queue shape` has it.
    ("TAKES", Side::Left),
];

const STAGE: [(&str, Side); 5] = [
    ("STAGE", Side::Left),
    ("COUNT", Side::Right),
    ("P50", Side::Right),
    ("P99", Side::Right),
    ("MAX", Side::Right),
];

const SHARD: [(&str, Side); 8] = [
    ("SHARD", Side::Right),
    ("CORE", Side::Right),
    ("BUSY", Side::Right),
    ("CPU", Side::Right),
    ("IN", Side::Right),
    ("OUT", Side::Right),
    ("QUEUED", Side::Right),
    ("STATE", Side::Left),
];

/// Rows of a table that are made at the most: a screen shows fewer.
const ROWS_MAX: usize = 50;

/// A long name leaves room for the numbers behind it.
const LEFT_MAX: u16 = 24;

const MIB: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::observe::explained::Learned;

    fn screen(watched: &Watched, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        terminal.draw(|frame| draw(frame, watched)).expect("drawn");
        terminal.backend().to_string()
    }

    fn busy() -> Watched {
        let mut watched = Watched {
            shards: vec![
                ShardRow {
                    cpu: Some(3),
                    messages_queued: 7,
                    health: Health::SpoolFull,
                    ..ShardRow::default()
                },
                ShardRow {
                    shard: 1,
                    ..ShardRow::default()
                },
            ],
            shape: vec![ShapeRow {
                destination: "d.test\x1b[2J".into(),
                ages: vec![5, 2, 0, 0, 0, 0, 0, 0, 0, 0],
                states: Vec::new(),
                learned: Some(Learned {
                    rate: Some("52/m".into()),
                    ..Learned::default()
                }),
                waits_for_tomorrow: true,
            }],
            ..Watched::default()
        };
        let began = Instant::now();
        for second in 0..100 {
            let totals = Totals {
                accepted: second * second,
                ..Totals::default()
            };
            watched.count(totals, began + Duration::from_secs(second));
        }
        watched
    }

    #[test]
    fn a_screen_has_all_of_it() {
        let shown = screen(&busy(), 100, 30);
        for word in [
            "spool full",
            "197 accepted/s",
            "7 messages queued",
            "d.test?[2J",
            "52/m, tomorrow",
            "up to 197",
            "Slowest stages",
        ] {
            assert!(shown.contains(word), "{word} in\n{shown}");
        }
    }

    #[test]
    fn a_screen_may_be_tiny() {
        for (width, height) in [(1, 1), (20, 5), (300, 100)] {
            let _ = screen(&busy(), width, height);
        }
    }

    #[test]
    fn the_relay_is_gone() {
        let watched = Watched {
            trouble: Some("no relay answers on 127.0.0.1:8025\nIt is started".into()),
            ..busy()
        };
        assert!(screen(&watched, 100, 30).contains("no relay answers on 127.0.0.1:8025"));
    }
}
