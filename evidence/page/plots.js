// Plots of one service: response times above, counts below, each count in a lane of its own. All share one time axis.
const told = JSON.parse(document.getElementById("data").textContent);
const margin = 10; // px right of every plot
const laneHeight = 24;
const faults = ["refused", "unanswered", "resets", "time-outs"];
const odd = ["sent again", "zero windows"]; // a few are no fault
const whole = { from: told.from, to: Math.max(told.to, told.from + 1) };
const shown = { ...whole };
const drawn = []; // every uPlot

const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const side = () => parseFloat(color("--side")) * parseFloat(getComputedStyle(document.documentElement).fontSize); // px left of every plot
const clock = (ms, digits = 1) => new Date(ms).toISOString().slice(11, 20 + digits);

function span(ms) {
	if (ms < 1) return +(ms * 1000).toPrecision(3) + " µs";
	if (ms < 1000) return +ms.toPrecision(3) + " ms";
	return ms < 120000 ? +(ms / 1000).toPrecision(3) + " s" : +(ms / 60000).toPrecision(3) + " min";
}

const numbers = (text, empty) => text.split(",").map(v => v === "" ? empty : +v);

// show sets the time axis of everything on the page.
function show(from, to) {
	const least = 50; // ms
	const width = Math.min(Math.max(to - from, least), whole.to - whole.from);
	from = Math.min(Math.max(from, whole.from), whole.to - width);
	Object.assign(shown, { from, to: from + width });
	for (const u of drawn) u.setScale("x", { min: shown.from, max: shown.to });
	lane.place(shown.from, shown.to);
	const out = document.getElementById("range");
	if (out) out.textContent = clock(shown.from) + " – " + clock(shown.to) + ", " + span(width);
}

// shade draws what lies behind the lines: the time of the fault, and hatched where nothing was recorded.
function shade(u) {
	const { ctx, bbox } = u;
	const x = t => Math.min(Math.max(u.valToPos(t, "x", true), bbox.left), bbox.left + bbox.width);
	ctx.save();
	if (told.fault) {
		ctx.fillStyle = color("--fault-wash");
		const [a, b] = told.fault.map(x);
		ctx.fillRect(a, bbox.top, Math.max(b - a, 2), bbox.height);
	}
	ctx.strokeStyle = color("--gap");
	for (const [from, to] of told.blind || []) {
		const a = x(from), b = Math.max(x(to), a + 2);
		if (b <= bbox.left || a >= bbox.left + bbox.width) continue;
		ctx.save();
		ctx.beginPath();
		ctx.rect(a, bbox.top, b - a, bbox.height);
		ctx.clip();
		ctx.beginPath();
		for (let i = a - bbox.height; i < b; i += 7 * devicePixelRatio) {
			ctx.moveTo(i, bbox.top + bbox.height);
			ctx.lineTo(i + bbox.height, bbox.top);
		}
		ctx.stroke();
		ctx.restore();
	}
	ctx.restore();
}

// rule draws a line through the plot for what led to the fault, for findings, and for other events while they are few.
function rule(u) {
	const { ctx, bbox } = u;
	const seen = marks.filter(m => m.at >= shown.from && m.at <= shown.to);
	ctx.save();
	ctx.lineWidth = devicePixelRatio;
	for (const m of seen) {
		const minor = m.what === "event" || m.what === "aside";
		if (minor && seen.length > 60) continue;
		const at = Math.round(u.valToPos(m.at, "x", true)) + .5;
		ctx.strokeStyle = color(minor ? "--line" : "--fault");
		ctx.setLineDash(m.what === "finding" ? [] : [2 * devicePixelRatio, 3 * devicePixelRatio]);
		ctx.beginPath();
		ctx.moveTo(at, bbox.top);
		ctx.lineTo(at, bbox.top + bbox.height);
		ctx.stroke();
	}
	ctx.restore();
}

// common is what all plots share.
function common(box, said, say) {
	return {
		ms: 1,
		tzDate: t => uPlot.tzDate(new Date(t), "Etc/UTC"),
		width: box.clientWidth,
		legend: { show: false },
		cursor: {
			sync: { key: "time", scales: ["x", null] },
			drag: { x: true, y: false, setScale: false },
			points: { show: false },
			y: false,
			bind: { dblclick: () => () => show(whole.from, whole.to) },
		},
		hooks: {
			drawClear: [shade],
			draw: [rule],
			setCursor: [u => { said.textContent = u.cursor.idx == null ? "" : say(u.cursor.idx); }],
			setSelect: [u => {
				if (u.select.width < 4) return;
				show(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
				u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
			}],
		},
	};
}

// axis is the time axis; only the lowest plot of a service has numbers at it.
function axis(numbered) {
	const line = { stroke: () => color("--line"), width: 1 };
	return {
		stroke: () => color("--soft"), grid: { show: false }, ticks: { ...line, size: 4, show: numbered }, border: { show: true, ...line },
		size: numbered ? 26 : 1, gap: 3, font: "12px " + getComputedStyle(document.body).fontFamily, space: 84,
		values: (u, list, i, space, step) => list.map(t => {
			const cut = u.valToPos(t, "x") > u.bbox.width / devicePixelRatio + margin - 28; // it would not fit
			return !numbered || cut ? "" : step < 1000 ? clock(t) : clock(t).slice(0, 8);
		}),
	};
}

const times = { auto: false, time: true, range: () => [shown.from, shown.to] };

// around is the decades that hold some values, at least one.
function around(lo, hi) {
	if (lo == null) return [1, 1000];
	const first = Math.floor(Math.log10(lo) + 1e-9);
	return [10 ** first, 10 ** Math.max(Math.ceil(Math.log10(hi) - 1e-9), first + 1)];
}

// decades is the powers of ten of a scale, every second one if there are many.
function decades(lo, hi) {
	const first = Math.round(Math.log10(lo)), n = Math.round(Math.log10(hi)) - first + 1, step = n > 5 ? 2 : 1;
	return Array.from({ length: Math.ceil(n / step) }, (_, i) => 10 ** (first + i * step));
}

// plotTimes draws response times on a logarithmic scale.
function plotTimes(box, c, x, numbered, said, say) {
	const [max, p95, p50] = ["max", "p95", "p50"].map(k => numbers(c.time[k], null));
	const line = (label, stroke, width, dash) => ({ label, scale: "ms", width, dash, stroke: () => color(stroke), spanGaps: false, points: { show: true, size: width + 2, width: 0, fill: () => color(stroke) } });
	const options = common(box, said, say);
	return new uPlot({
		...options, height: 132 + (numbered ? 26 : 8), padding: [8, margin, numbered ? 0 : 8, 0],
		scales: { x: times, ms: { distr: 3, range: (u, lo, hi) => around(lo, hi) } },
		axes: [axis(numbered), {
			scale: "ms", size: side(), gap: 6, stroke: () => color("--soft"), font: "12px " + getComputedStyle(document.body).fontFamily,
			grid: { stroke: () => color("--line"), width: 1 }, ticks: { show: false }, splits: (u, i, lo, hi) => decades(lo, hi), values: (u, list) => list.map(span), filter: (u, list) => list,
		}],
		series: [{}, line("max", "--third", 1), line("p95", "--second", 1.5), line("p50", "--ink", 2)],
	}, [x, max, p95, p50], box);
}

// plotCounts draws every count as bars in a lane.
function plotCounts(box, c, x, said, say) {
	const n = c.order.length, columns = c.order.map(k => numbers(c.count[k], 0));
	const options = common(box, said, say);
	const scales = { x: times }, series = [{}];
	c.order.forEach((name, i) => {
		const most = Math.max(4, ...columns[i]); // so that one is no tower
		// The lane's floor is 0, and its ceiling a little above the most.
		scales[name] = { auto: false, range: () => [-(n - 1 - i) * most * 1.25, (i + 1) * most * 1.25] };
		const fill = () => color(faults.includes(name) ? "--fault" : odd.includes(name) ? "--second" : "--third");
		series.push({ label: name, scale: name, width: 0, fill, stroke: fill, fillTo: 0, paths: uPlot.paths.bars({ size: [.8, 40, 2] }), points: { show: false } });
	});
	const u = new uPlot({ ...options, height: n * laneHeight + 30, padding: [4, margin, 0, side()], scales, series, axes: [axis(true)] }, [x, ...columns], box);
	const names = document.createElement("div");
	names.className = "lanes";
	names.style.height = n * laneHeight + "px";
	c.order.forEach((name, i) => {
		const label = document.createElement("div");
		const sum = document.createElement("span");
		sum.textContent = " " + columns[i].reduce((a, b) => a + b).toLocaleString("en").replaceAll(",", "\u202f");
		label.append(name, sum);
		label.className = faults.includes(name) ? "bad" : "";
		label.style.top = 4 + i * laneHeight + laneHeight - 14 + "px";
		names.append(label);
	});
	u.root.style.position = "relative";
	u.root.append(names);
	return u;
}

// figure draws what is known of a service, and says the numbers of the step under the cursor.
function figure(box, c) {
	const x = Array.from({ length: c.n }, (_, i) => c.from + i * c.step);
	const said = document.createElement("div");
	said.className = "read";
	const tables = { ...c.time, ...c.count }, values = Object.fromEntries(Object.entries(tables).map(([k, text]) => [k, text.split(",")]));
	const say = i => [clock(x[i] - c.step / 2) + ", " + span(c.step)]
		.concat(["p50", "p95", "max"].filter(k => values[k][i]).map(k => k + " " + span(+values[k][i])))
		.concat(c.order.filter(k => values[k][i]).map(k => k + " " + values[k][i])).join(" · ");
	const own = [], answered = values.p50.some(v => v);
	if (answered) own.push(plotTimes(box, c, x, !c.order.length, said, say));
	if (c.order.length) own.push(plotCounts(box, c, x, said, say));
	box.append(said);
	drawn.push(...own);
	if (!own.length) return;
	box.tabIndex = 0;
	box.setAttribute("role", "group");
	box.onkeydown = e => keys(e, own[0], x);
}

// keys moves the cursor of a plot, and zooms around it.
function keys(e, u, x) {
	const steps = { ArrowLeft: -1, ArrowRight: 1 }, zooms = { "+": .5, "=": .5, "-": 2, "0": Infinity };
	if (e.key in zooms) {
		const at = u.cursor.idx == null ? (shown.from + shown.to) / 2 : x[u.cursor.idx];
		const half = Math.min((shown.to - shown.from) * zooms[e.key], whole.to - whole.from) / 2;
		show(at - half, at + half);
	} else if (e.key in steps) {
		const first = x.findIndex(t => t >= shown.from);
		const i = Math.min(Math.max(u.cursor.idx == null ? first : u.cursor.idx + steps[e.key], 0), x.length - 1);
		if (x[i] < shown.from || x[i] > shown.to) show(shown.from + steps[e.key] * (x[1] - x[0]), shown.to + steps[e.key] * (x[1] - x[0]));
		u.setCursor({ left: u.valToPos(x[i], "x"), top: 10 });
	} else return;
	e.preventDefault();
}
