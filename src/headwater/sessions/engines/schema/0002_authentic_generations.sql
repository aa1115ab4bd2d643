-- oldest reader: 1
-- Records of generations carry what authenticates them and says when they may go. The defaults are what a program of format 1 writes: such
-- records are taken over at a start and signed, and refused at any other time.

ALTER TABLE generation ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generation ADD COLUMN until_ms INTEGER NOT NULL DEFAULT 4611686018427387904;
ALTER TABLE generation ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
