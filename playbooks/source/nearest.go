package source

// Nearest is the known name most like name, or "" when none is near enough to be what the user meant
// (more than a third of its letters would have to change).
func Nearest(name string, known []string) string {
	best, bestCost := "", len(name)/3+1
	for _, k := range known {
		if cost := distance(name, k); cost <= bestCost && (cost < bestCost || best == "") {
			best, bestCost = k, cost
		}
	}
	return best
}

// distance is the Damerau-Levenshtein distance (optimal string alignment) of a and b in bytes.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
