"""SVG without a library: bars and curves that can be read on light and on dark ground."""
import math
from xml.sax.saxutils import escape

WIDTH = 760
LEFT, RIGHT, TOP = 60, 34, 44
# Colours with contrast to white and to near-black; text takes the reader's own.
COLOURS = ["#2f81f7", "#8b949e", "#e5743b", "#c9559b", "#2da44e", "#a371f7", "#bf8700", "#1b9e9e", "#e0a526"]
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.grid { stroke: #8b949e; stroke-opacity: .35 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
</style>"""


class Sheet:
    """What is drawn, and the whole at the end."""

    def __init__(self, title, height):
        self.height, self.parts = height, [f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>']

    def text(self, x, y, words, anchor="start"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, x, y, to_x, to_y):
        self.parts.append(f'<line class="grid" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>')

    def legend(self, names, y):
        x = LEFT
        for name, colour in names.items():
            self.parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" rx="2" fill="{colour}"/>')
            self.text(x + 15, y, name)
            x += 28 + 7 * len(name)
            if x > WIDTH - 150:
                x, y = LEFT, y + 16

    def svg(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}" role="img">'
                f"{STYLE}\n" + "\n".join(self.parts) + "\n</svg>\n")


def short(number):
    return f"{number:,.0f}" if number >= 10 else f"{number:g}"


def bars(title, groups):
    """`groups`: {what: {server: a second}}, lying bars, one scale for each group's own greatest."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    height = TOP + 24 + sum(26 + 17 * len(group) for group in groups.values())
    sheet = Sheet(title, height)
    sheet.legend(colours, TOP)
    y, room = TOP + 22, WIDTH - LEFT - RIGHT - 60
    for what, group in groups.items():
        sheet.text(LEFT, y + 10, what)
        y += 16
        greatest = max(group.values())
        for name, value in group.items():
            wide = max(1.0, room * value / greatest)
            sheet.parts.append(f'<rect x="{LEFT}" y="{y}" width="{wide:.1f}" height="13" rx="2" fill="{colours[name]}"/>')
            sheet.text(LEFT + wide + 6, y + 11, short(value))
            y += 17
        y += 10
    return sheet.svg()


def decades(low, high):
    """Powers of ten around both."""
    return range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)


def curves(title, lines, across, up, ticks=None):
    """`lines`: {name: [(x, y), ...]}; y on a logarithmic scale. `ticks`: words for places on the x axis, else numbers."""
    lines = {name: [(x, y) for x, y in line if y > 0] for name, line in lines.items()}
    lines = {name: line for name, line in lines.items() if line}
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(lines)}
    rows = 1 + sum(28 + 7 * len(name) for name in lines) // (WIDTH - LEFT - 150)
    top, bottom = TOP + 16 * rows + 8, 400 + 16 * rows
    sheet = Sheet(title, bottom + 50)
    sheet.legend(colours, TOP)
    points = [point for line in lines.values() for point in line]
    least, most = min(x for x, _ in points), max(x for x, _ in points)
    powers = decades(min(y for _, y in points), max(y for _, y in points))

    def place(x, y):
        return (LEFT + (WIDTH - LEFT - RIGHT) * (x - least) / max(most - least, 1e-9),
                bottom - (bottom - top) * (math.log10(y) - powers[0]) / max(powers[-1] - powers[0], 1))
    for power in powers:
        _, y = place(least, 10.0 ** power)
        sheet.line(LEFT, y, WIDTH - RIGHT, y)
        sheet.text(LEFT - 6, y + 4, short(10.0 ** power), "end")
    step = 10 ** math.floor(math.log10(most)) / (2 if most < 5 * 10 ** math.floor(math.log10(most)) else 1)
    round_numbers = [step * count for count in range(math.ceil(least / step), math.floor(most / step) + 1)]
    for number, words in ticks or [(number, short(number)) for number in round_numbers]:
        x, _ = place(number, 10.0 ** powers[0])
        sheet.line(x, top, x, bottom)
        sheet.text(x, bottom + 16, words, "middle")
    sheet.text(WIDTH - RIGHT, bottom + 36, across, "end")
    sheet.text(LEFT, bottom + 36, up)
    for name, line in lines.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        sheet.parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        for point in line:
            x, y = place(*point)
            sheet.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colours[name]}"/>')
    return sheet.svg()
