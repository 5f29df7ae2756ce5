-- Roles as the product names them.

ALTER TABLE member DROP CONSTRAINT member_role_check;
UPDATE member SET role = 'member' WHERE role = 'developer';
ALTER TABLE member ADD CONSTRAINT member_role_check CHECK (role IN ('owner', 'admin', 'member', 'billing'));
