-- Orders that their callers sign: whose key, until when the present action may be signed, and the signature of it.
ALTER TABLE orders ADD COLUMN caller_signed boolean NOT NULL DEFAULT false;
ALTER TABLE legs ADD COLUMN caller jsonb;
ALTER TABLE legs ADD COLUMN sign_by timestamptz;
ALTER TABLE legs ADD COLUMN signature text NOT NULL DEFAULT '';
