// Command docs writes the generated parts of the documents in docs/:
//
//	coverage.md            every requirement of the guides that the playbooks follow, with what meets it and the test that shows it; its
//	                       source is coverage.yml, kept by hand
//	<playbook>.md          the table of variables, between its two marks, out of the argument specs and defaults of the playbook's roles
//
// Its test fails when a document is not what this command would write, or when the ledger names a role, gate, document or test that is not there.
package main
