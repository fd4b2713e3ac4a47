-- Beside the table, so that whoever comes next finds it, with or without the one who set them aside.
CREATE TABLE IF NOT EXISTS {parked} (
  name TEXT PRIMARY KEY,
  statement TEXT NOT NULL,
  tablespace TEXT,
  parked_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
)
