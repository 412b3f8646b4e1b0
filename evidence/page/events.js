// The lane of events above the plots. Its buttons are made from the rows of the events' table, so that both say the same.
const marks = [...document.querySelectorAll(".events tr[data-t]")].map(row => ({
	at: +row.dataset.t,
	what: row.dataset.what,
	time: row.cells[0].textContent,
	text: row.cells[1].textContent.trim() + ": " + row.cells[2].textContent + (row.cells[3].textContent ? " (" + row.cells[3].textContent + ")" : ""),
}));

const lane = {
	box: document.getElementById("lane"),
	said: document.getElementById("said"),
	mark: marks.find(m => m.what === "chain" || m.what === "finding"), // what is told; the tab key reaches its button, arrows go to the others

	// place puts a button where each event is; what is too close to be told apart shares one.
	place(from, to) {
		if (!this.box || !marks.length) return;
		const width = this.box.clientWidth - margin;
		const had = this.box.contains(document.activeElement);
		const groups = [];
		for (const m of marks) {
			const x = (m.at - from) / (to - from) * width;
			if (x < 0 || x > width) continue;
			const last = groups[groups.length - 1];
			if (last && x - last.x < 20) last.of.push(m);
			else groups.push({ x, of: [m] });
		}
		this.box.replaceChildren(...groups.map(g => this.button(g)));
		const i = Math.max(0, groups.findIndex(g => g.of.includes(this.mark)));
		this.move(i, had);
		if (!groups.length) this.said.textContent = "No event in this stretch.";
		else if (!had) this.say(groups[i].of);
	},

	button(group) {
		const b = document.createElement("button");
		const what = ["finding", "chain", "aside", "event"].find(w => group.of.some(m => m.what === w));
		b.type = "button";
		b.className = what + (group.of.length > 1 ? " many" : "");
		b.style.left = Math.min(Math.max(group.x, 12), this.box.clientWidth - 12) + "px";
		b.setAttribute("aria-label", group.of.length > 1 ? group.of.length + " events from " + group.of[0].time : group.of[0].time + " " + group.of[0].text);
		if (group.of.length > 1) {
			const n = document.createElement("b");
			n.textContent = group.of.length;
			b.append(n);
		}
		b.onmouseenter = b.onclick = () => this.say(group.of);
		b.onfocus = () => { this.mark = group.of[0]; this.say(group.of); };
		return b;
	},

	// say shows what an event, or the first of several, was.
	say(list) {
		const lines = list.slice(0, 3).map(m => {
			const line = document.createElement("div"), time = document.createElement("time");
			time.textContent = m.time;
			line.append(time, m.text);
			return line;
		});
		if (list.length > 3) lines.push("and " + (list.length - 3) + " more, in the table below");
		this.said.replaceChildren(...lines);
	},

	// move makes a button the one that the tab key reaches.
	move(i, focus) {
		const all = [...this.box.children];
		all.forEach((b, k) => { b.tabIndex = k === i ? 0 : -1; });
		if (focus && all[i]) all[i].focus();
	},

	key(e) {
		const at = [...this.box.children].indexOf(document.activeElement);
		const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.box.children.length - 1 }[e.key];
		if (to === undefined || !this.box.children[to]) return;
		e.preventDefault();
		this.move(to, true);
	},
};
