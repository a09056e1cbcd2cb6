-- Row-level security for a database that several households share (a Supabase project, say).
--
-- Run once after 'fedwatt data migrate URL', as the owner of the tables:
--     psql URL -f shared_project.sql          (fedwatt data policies > shared_project.sql)
-- Then, per household, a login and its admission (set the password with psql's \password):
--     create role home_b01 login;
--     select fedwatt_admit('B01', 'home_b01', 'Europe/London', 'our-street');
-- and for the coordinator:
--     create role our_coordinator login;
--     grant fedwatt_coordinator to our_coordinator;
--
-- A household reads and writes its own readings and reads its own postings. The coordinator
-- books settlements and publishes prices and weather, and sees no reading. The owner of the
-- project, and whoever holds a role with BYPASSRLS, can see everything: a household that does
-- not want that keeps a database of its own.
-- The file may be run again.

do $$
begin
    if not exists (select from pg_roles where rolname = 'fedwatt_household') then
        create role fedwatt_household nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'fedwatt_coordinator') then
        create role fedwatt_coordinator nologin;
    end if;
end $$;

-- Nobody else: Supabase grants its web roles every new table of the schema public.
revoke all on households, readings, prices, weather, alembic_version,
    ledger_runs, ledger_accounts, ledger_postings, ledger_states, bill_prices, bill_members
    from public;
do $$
declare
    web text;
begin
    foreach web in array array['anon', 'authenticated'] loop
        if exists (select from pg_roles where rolname = web) then
            execute format('revoke all on households, readings, prices, weather, alembic_version,
                ledger_runs, ledger_accounts, ledger_postings, ledger_states,
                bill_prices, bill_members from %I', web);
        end if;
    end loop;
end $$;

alter table households enable row level security;
alter table readings enable row level security;
alter table prices enable row level security;
alter table weather enable row level security;
alter table ledger_runs enable row level security;
alter table ledger_accounts enable row level security;
alter table ledger_postings enable row level security;
alter table ledger_states enable row level security;
alter table bill_prices enable row level security;
alter table bill_members enable row level security;

-- What a household may do, on the rows the policies below leave it.
grant select on households to fedwatt_household;
grant update (timezone, resolution_minutes, phase_minutes, source, "real")
    on households to fedwatt_household;
grant select, insert, update, delete on readings to fedwatt_household;
grant select on prices, weather, ledger_runs, ledger_accounts, ledger_postings,
    bill_prices, bill_members to fedwatt_household;

-- What the coordinator may do: no word of households or readings.
grant select, insert, update on prices, weather to fedwatt_coordinator;
grant select, insert, update, delete on ledger_runs, ledger_accounts, ledger_postings,
    ledger_states, bill_prices, bill_members to fedwatt_coordinator;
grant usage on sequence ledger_runs_run_seq to fedwatt_coordinator;
grant select on alembic_version to fedwatt_household, fedwatt_coordinator;

drop policy if exists own_home on households;
create policy own_home on households to fedwatt_household
    using (owner = current_user) with check (owner = current_user);

drop policy if exists own_readings on readings;
create policy own_readings on readings to fedwatt_household
    using (household in (select name from households where owner = current_user))
    with check (household in (select name from households where owner = current_user));

drop policy if exists published on prices;
create policy published on prices for select to fedwatt_household using (true);
drop policy if exists published on weather;
create policy published on weather for select to fedwatt_household using (true);

drop policy if exists runs on ledger_runs;
create policy runs on ledger_runs for select to fedwatt_household using (true);
drop policy if exists own_account on ledger_accounts;
create policy own_account on ledger_accounts for select to fedwatt_household
    using (kind = 'household'
           and name in (select h.name from households h where h.owner = current_user));
drop policy if exists own_postings on ledger_postings;
create policy own_postings on ledger_postings for select to fedwatt_household
    using ((run, account) in (select a.run, a.account from ledger_accounts a));
-- What others pay is none of a household's business: it sees the prices of its own lists.
drop policy if exists own_lists on bill_members;
create policy own_lists on bill_members for select to fedwatt_household
    using ((run, account) in (select a.run, a.account from ledger_accounts a));
drop policy if exists own_prices on bill_prices;
create policy own_prices on bill_prices for select to fedwatt_household
    using (exists (select from bill_members m where m.run = bill_prices.run
                   and m.list = bill_prices.list and m.since <= bill_prices.interval));

drop policy if exists coordinator on prices;
create policy coordinator on prices to fedwatt_coordinator using (true) with check (true);
drop policy if exists coordinator on weather;
create policy coordinator on weather to fedwatt_coordinator using (true) with check (true);
drop policy if exists coordinator on ledger_runs;
create policy coordinator on ledger_runs to fedwatt_coordinator using (true) with check (true);
drop policy if exists coordinator on ledger_accounts;
create policy coordinator on ledger_accounts to fedwatt_coordinator
    using (true) with check (true);
drop policy if exists coordinator on ledger_postings;
create policy coordinator on ledger_postings to fedwatt_coordinator
    using (true) with check (true);
drop policy if exists coordinator on ledger_states;
create policy coordinator on ledger_states to fedwatt_coordinator
    using (true) with check (true);
drop policy if exists coordinator on bill_prices;
create policy coordinator on bill_prices to fedwatt_coordinator using (true) with check (true);
drop policy if exists coordinator on bill_members;
create policy coordinator on bill_members to fedwatt_coordinator using (true) with check (true);

create or replace function fedwatt_admit(home text, login name, zone text, street text)
returns void language plpgsql as $$
begin
    insert into households (name, owner, timezone, area) values (home, login, zone, street)
        on conflict (name) do update set owner = excluded.owner;
    execute format('grant fedwatt_household to %I', login);
end $$;
revoke all on function fedwatt_admit(text, name, text, text) from public;
