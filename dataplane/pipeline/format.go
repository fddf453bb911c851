package pipeline

import "baton/dataplane/flow"

// tableText is the table's name, or its number if it has none.
func tableText(id flow.TableID) string {
	if name, ok := TableName(id); ok {
		return name
	}
	return id.String()
}

// FormatRule writes a rule with tables by their names, as in
// "table=LSP_INGRESS_LOOKUP_DST_PORT priority=10 datapath=5 actions=goto(...)".
func FormatRule(r *flow.Rule) string { return r.Format(tableText) }

// FormatRuleID writes a rule's identity with tables by their names.
func FormatRuleID(id *flow.RuleID) string { return id.Format(tableText) }

// FormatAction writes an action with tables by their names.
func FormatAction(a *flow.Action) string { return a.Format(tableText) }
