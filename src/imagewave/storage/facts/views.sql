-- What people ask of a store. Two layers are below: raw_<table>, every row as it was recorded, and
-- every_<table>, one row per key. The comments are what `imagewave sql` lists.
--
-- A wave file that was edited makes a new revision of its wave. Plans and verdicts (briefs, prompts,
-- requests, screens, judgements, decisions, finals, assets, funnel, lineage) are those of the
-- current revision; money and what it bought (jobs, attempts, results, images, costs) is never
-- history.

CREATE VIEW waves AS
SELECT wave, arg_max(revision, recorded_at) AS revision, arg_max(file, recorded_at) AS file,
       arg_max(realm, recorded_at) AS realm, arg_max(spec, recorded_at) AS spec,
       coalesce(any_value(series), wave) AS series, coalesce(any_value(edition), '') AS edition,
       min(recorded_at) AS first_recorded_at, max(recorded_at) AS recorded_at
FROM raw_waves
GROUP BY wave;
COMMENT ON VIEW waves IS 'The waves and their current revision: the one that was run last. An edition is a wave by itself, of the series that its file names. spec is the wave file as JSON. realm is sandbox where pictures are stand-ins and no money is real, else live.';

CREATE VIEW briefs AS
SELECT * FROM every_briefs SEMI JOIN waves USING (wave, revision);
COMMENT ON VIEW briefs IS 'What is wanted: one row per brief, with its text and how many accepted images it asks for.';

CREATE VIEW prompts AS
SELECT * FROM every_prompts SEMI JOIN waves USING (wave, revision);
COMMENT ON VIEW prompts IS 'The expansions of each brief, from a template or a text model.';

-- Of two waves that ask at once, both plan to pay; only the results tell which of them did.
CREATE VIEW requests AS
SELECT asked.* REPLACE (reused OR coalesce(NOT list_contains(payers, wave), false) AS reused)
FROM (SELECT * FROM every_requests SEMI JOIN waves USING (wave, revision)) AS asked
LEFT JOIN (SELECT request_id, list(DISTINCT wave) AS payers FROM raw_results GROUP BY request_id)
    USING (request_id);
COMMENT ON VIEW requests IS 'What each brief asks of a model: expand, draft, judge or final. reused: it was answered before, so this wave pays nothing for it.';

-- Machines' clocks differ, but nothing comes after settling.
CREATE VIEW jobs AS
WITH ordered AS (
    SELECT *, (event = 'settled', recorded_at,
               CASE event WHEN 'claimed' THEN 0 WHEN 'accepted' THEN 2 ELSE 1 END) AS position
    FROM every_jobs
), folded AS (
    SELECT job_id, any_value(wave) AS wave, any_value(revision) AS revision,
           any_value(kind) AS kind, any_value(round) AS round, any_value(attempt) AS attempt,
           any_value(lane) AS lane, any_value(model) AS model, any_value(requests) AS requests,
           arg_max(event, position) AS event,
           arg_max(nullif(state, ''), position) AS state,
           arg_max(nullif(provider_job, ''), position) AS provider_job,
           arg_max(nullif(token, ''), position) AS token,
           arg_max(held_usd, position) AS estimate_usd,
           arg_max(captured_usd, recorded_at) FILTER (captured_usd IS NOT NULL) AS captured_usd,
           arg_max(nullif(message, ''), position) AS message,
           min(recorded_at) FILTER (event = 'claimed') AS claimed_at,
           max(recorded_at) FILTER (event = 'accepted') AS accepted_at,
           max(recorded_at) FILTER (event = 'settled') AS settled_at
    FROM ordered
    GROUP BY job_id
)
SELECT job_id, wave, revision, kind, round, attempt, lane, model, requests, event, state,
       provider_job, token, estimate_usd,
       CASE WHEN event IN ('claimed', 'accepted') THEN estimate_usd
            ELSE 0 END::DECIMAL(18, 9) AS held_usd,
       coalesce(captured_usd, 0)::DECIMAL(18, 9) AS captured_usd,
       message, claimed_at, accepted_at, settled_at
FROM folded;
COMMENT ON VIEW jobs IS 'One row per job handed to a provider: its last event, its state there, the money held for it now and captured at its end.';

-- What was held for lost and was found later takes the place of the loss. The attempt 0 was none:
-- the words had been refused before.
CREATE VIEW attempts AS
SELECT * FROM raw_results
WHERE attempt > 0
QUALIFY row_number() OVER (
    PARTITION BY request_id, job_id ORDER BY status = 'missing', recorded_at
) = 1;
COMMENT ON VIEW attempts IS 'Every result that any job brought for a request, each with its tokens and cost.';

CREATE VIEW results AS
SELECT * FROM raw_results
QUALIFY row_number() OVER (
    PARTITION BY request_id
    ORDER BY status IN ('image', 'text') DESC, recorded_at DESC, attempt DESC, job_id
) = 1;
COMMENT ON VIEW results IS 'What came back for a request, one row each: its newest image or text if any attempt brought one, else its newest attempt.';

-- JSON is taken apart only where a prompt was refused at all.
CREATE VIEW refusals AS
WITH suspects AS (
    SELECT DISTINCT kind, model, prompt_id
    FROM raw_requests
    SEMI JOIN (SELECT request_id FROM raw_results WHERE status = 'refused') USING (request_id)
), worded AS (
    SELECT DISTINCT request_id, model, request ->> 'prompt' AS prompt,
           request ->> 'system' AS system, request ->> 'references' AS shown
    FROM raw_requests
    SEMI JOIN suspects USING (kind, model, prompt_id)
)
SELECT worded.model, prompt, system, shown,
       arg_min(reason, recorded_at) FILTER (status = 'refused') AS reason,
       arg_min(request_id, recorded_at) FILTER (status = 'refused') AS request_id,
       count(*) FILTER (status = 'refused' AND attempt > 0) AS times,
       max(recorded_at) FILTER (status = 'refused' AND attempt > 0) AS recorded_at
FROM worded JOIN raw_results USING (request_id)
GROUP BY worded.model, prompt, system, shown
HAVING bool_or(status = 'refused') AND NOT bool_or(status IN ('image', 'text'));
COMMENT ON VIEW refusals IS 'Words that a model turned down for their content and never answered: they are not sent to it again by themselves. shown are the pictures sent along, request_id and reason of the first refusal.';

CREATE VIEW images AS
SELECT images.image, format, mime, bytes, path, width, height, error, brightness, p05, p95,
       contrast, blur, entropy, border, metrics."cast" AS color_cast, phash, images.recorded_at
FROM every_images AS images LEFT JOIN every_metrics AS metrics USING (image);
COMMENT ON VIEW images IS 'Each stored picture by its SHA-256: format, size, and what was measured from its pixels.';

CREATE VIEW screens AS
SELECT * FROM every_screens SEMI JOIN waves USING (wave, revision);
COMMENT ON VIEW screens IS 'One row per mechanical check of a picture: its value, the threshold of the wave, the verdict.';

CREATE VIEW judgements AS
SELECT said.* REPLACE (
    CASE WHEN NOT list_contains(payers, wave) THEN 0 ELSE cost_usd END::DECIMAL(18, 9) AS cost_usd
)
FROM (SELECT * FROM raw_judgements SEMI JOIN waves USING (wave, revision)) AS said
LEFT JOIN (SELECT request_id, list(DISTINCT wave) AS payers FROM raw_results GROUP BY request_id)
    AS paid ON paid.request_id = said.judge_request_id
QUALIFY row_number() OVER (
    PARTITION BY wave, revision, said.request_id, judge_request_id
    ORDER BY verdict = 'failed', recorded_at
) = 1;
COMMENT ON VIEW judgements IS 'The scores that a vision model gave a picture, its verdict and why. Each is 0 to 1 and higher is better: defects 1 is flawless.';

CREATE VIEW decisions AS
SELECT * FROM every_decisions SEMI JOIN waves USING (wave, revision)
QUALIFY row_number() OVER (
    PARTITION BY wave, brief, request_id, tier ORDER BY round DESC, recorded_at DESC
) = 1;
COMMENT ON VIEW decisions IS 'Whether a draft or final was accepted, rejected or kept in reserve: the last round''s word on each.';

CREATE VIEW finals AS
SELECT decisions.wave, decisions.brief, decisions.request_id, decisions.image, requests.prompt_id,
       requests.about AS draft_request_id, requests.reference AS draft_image,
       decisions.rank, decisions.score, decisions.reason, requests.model, requests.size,
       results.format, results.job_id, requests.reused, results.cost_usd, decisions.recorded_at
FROM decisions
LEFT JOIN requests USING (wave, brief, request_id)
LEFT JOIN results USING (request_id)
WHERE tier = 'final' AND decision = 'accepted';
COMMENT ON VIEW finals IS 'The accepted final renders, with the draft that each one carries. cost_usd was paid by this wave unless reused.';

CREATE VIEW assets AS
SELECT * FROM raw_assets SEMI JOIN waves USING (wave, revision)
QUALIFY row_number() OVER (PARTITION BY wave, asset ORDER BY recorded_at DESC) = 1;
COMMENT ON VIEW assets IS 'The delivered files: path, format, size, and the draft each one comes from.';

-- Those of the pictures that are delivered now, as they were last made.
CREATE VIEW variants AS
SELECT * FROM raw_variants SEMI JOIN assets USING (wave, revision, asset, image)
QUALIFY row_number() OVER (
    PARTITION BY wave, asset, format, width ORDER BY recorded_at DESC, variant
) = 1;
COMMENT ON VIEW variants IS 'The files for the web of each asset, one row per width and format: path, size, recipe, SHA-256 of the bytes, mean colour, and the mark it carries (IPTC digital source type), if any.';

CREATE VIEW findings AS
SELECT * FROM every_findings;
COMMENT ON VIEW findings IS 'What was odd but not fatal: missing, duplicate or unknown keys, jobs that were late, results that were not delivered or were found later, second jobs.';

-- A request that two briefs of a wave share was paid once: the cost is the first brief's.
CREATE VIEW costs AS
WITH asked AS (
    SELECT wave, request_id, min(brief) AS brief, arg_min(prompt_id, brief) AS prompt_id
    FROM every_requests
    GROUP BY wave, request_id
)
SELECT attempts.wave, asked.brief, attempts.kind, attempts.model, attempts.job_id,
       attempts.request_id, asked.prompt_id, attempts.attempt, attempts.status,
       attempts.prompt_tokens, attempts.image_tokens, attempts.text_tokens,
       attempts.thought_tokens, attempts.reference_tokens, attempts.cost_usd, attempts.recorded_at
FROM attempts LEFT JOIN asked USING (wave, request_id);
COMMENT ON VIEW costs IS 'What was paid for, one row per attempt, in the wave whose job paid it (any revision). What a wave reused is not here.';

CREATE VIEW ledger AS
SELECT seq, kind, job_id, wave, usd, settles, settlement, "at" AS recorded_at
FROM raw_ledger;
COMMENT ON VIEW ledger IS 'Every movement of money, in order: hold, take (another process owns the hold now), capture, release (settles is the hold that is closed, or the entry of its owner so far), late, a cost that came after, and credit, what was captured too high.';

CREATE VIEW funnel AS
WITH drafts AS (
    SELECT requests.wave, requests.brief, requests.request_id, results.status = 'image' AS generated
    FROM requests LEFT JOIN results USING (request_id)
    WHERE requests.kind = 'draft'
), screened AS (
    SELECT wave, request_id, bool_and(verdict = 'pass') AS passed
    FROM screens
    GROUP BY wave, request_id
), judged AS (
    SELECT wave, request_id, arg_max(verdict, recorded_at) = 'pass' AS passed
    FROM judgements
    WHERE verdict <> 'failed'
    GROUP BY wave, request_id
), counted AS (
    SELECT drafts.wave, drafts.brief, count(*) AS requested,
           count(*) FILTER (generated) AS generated,
           count(*) FILTER (generated AND screened.passed) AS passed_screens,
           CASE WHEN count(judged.passed) > 0
                THEN count(*) FILTER (generated AND screened.passed AND judged.passed)
           END AS judged_ok
    FROM drafts
    LEFT JOIN screened USING (wave, request_id)
    LEFT JOIN judged USING (wave, request_id)
    GROUP BY drafts.wave, drafts.brief
), accepted AS (
    SELECT wave, brief, count(DISTINCT request_id) AS accepted
    FROM decisions
    WHERE tier = 'draft' AND decision = 'accepted'
    GROUP BY wave, brief
), delivered AS (
    SELECT wave, brief, count(DISTINCT request_id) AS final
    FROM (SELECT wave, brief, request_id FROM finals
          UNION SELECT wave, brief, request_id FROM assets)
    GROUP BY wave, brief
)
SELECT briefs.wave, briefs.brief, briefs.want, coalesce(requested, 0) AS requested,
       coalesce(generated, 0) AS generated, coalesce(passed_screens, 0) AS passed_screens,
       judged_ok, coalesce(accepted, 0) AS accepted, coalesce(final, 0) AS final
FROM briefs
LEFT JOIN counted USING (wave, brief)
LEFT JOIN accepted USING (wave, brief)
LEFT JOIN delivered USING (wave, brief);
COMMENT ON VIEW funnel IS 'Per brief: drafts requested, generated, past the screens, past the judge (NULL: not judged), accepted, and finals. Sum it for a wave.';

-- Per wave and brief everything paid counts, judging and expansion too, over the finals that were
-- accepted: what is delivered. Per model and template it is what the pictures themselves cost: a
-- model's drafts and finals, a template's drafts.
CREATE VIEW cost_per_accepted AS
WITH paid AS (
    SELECT wave, brief, kind, request_id, sum(cost_usd) AS cost_usd
    FROM costs
    GROUP BY wave, brief, kind, request_id
), pictures AS (
    SELECT requests.wave, requests.kind, requests.model,
           CASE WHEN requests.request_id IN (SELECT request_id FROM every_imports) THEN '(imported)'
                ELSE coalesce(nullif(prompts.template, ''), '(' || prompts.source || ')')
           END AS template,
           results.status = 'image' AS generated,
           decisions.decision = 'accepted' AS accepted,
           paid.cost_usd
    FROM requests
    LEFT JOIN prompts USING (wave, brief, prompt_id)
    LEFT JOIN results ON results.request_id = requests.request_id
    LEFT JOIN decisions ON decisions.wave = requests.wave AND decisions.brief = requests.brief
                       AND decisions.request_id = requests.request_id
                       AND decisions.tier = requests.kind
    LEFT JOIN paid ON paid.wave = requests.wave AND paid.brief = requests.brief
                  AND paid.request_id = requests.request_id
    WHERE requests.kind IN ('draft', 'final')
), grouped AS (
    SELECT wave, 'wave' AS per, wave AS key, sum(generated) AS generated,
           sum(final) AS accepted, any_value(cost_usd) AS cost_usd
    FROM funnel
    LEFT JOIN (SELECT wave, sum(cost_usd) AS cost_usd FROM paid GROUP BY wave) USING (wave)
    GROUP BY wave
    UNION ALL
    SELECT wave, 'brief', brief, generated, final, cost_usd
    FROM funnel
    LEFT JOIN (SELECT wave, brief, sum(cost_usd) AS cost_usd FROM paid GROUP BY wave, brief)
        USING (wave, brief)
    UNION ALL
    SELECT wave, 'model', model, count(*) FILTER (generated), count(*) FILTER (accepted),
           sum(cost_usd)
    FROM pictures
    GROUP BY wave, model
    UNION ALL
    SELECT wave, 'template', coalesce(template, '(none)'), count(*) FILTER (generated),
           count(*) FILTER (accepted), sum(cost_usd)
    FROM pictures
    WHERE kind = 'draft'
    GROUP BY wave, template
)
SELECT wave, per, key, generated::BIGINT AS generated, accepted::BIGINT AS accepted,
       coalesce(cost_usd, 0)::DECIMAL(18, 9) AS cost_usd,
       (coalesce(cost_usd, 0) / nullif(accepted, 0))::DECIMAL(18, 9) AS cost_per_accepted
FROM grouped;
COMMENT ON VIEW cost_per_accepted IS 'USD paid per accepted picture: per is wave, brief, model or template and key its name; NULL where none was accepted. Of a wave or brief, accepted are the finals.';

CREATE VIEW lineage AS
WITH verdicts AS (
    SELECT wave, request_id, count(*) AS checks,
           string_agg(check_name, ', ' ORDER BY check_name) FILTER (verdict = 'fail') AS failed
    FROM screens
    GROUP BY wave, request_id
), judged AS (
    SELECT wave, request_id, arg_max(score, recorded_at) AS score,
           arg_max(model, recorded_at) AS model, arg_max(reason, recorded_at) AS reason
    FROM judgements
    WHERE verdict <> 'failed'
    GROUP BY wave, request_id
), drafts AS (
    SELECT wave, brief, request_id, prompt_id, model, sample, seed, reused
    FROM requests
    WHERE kind = 'draft'
), drawn AS (
    SELECT assets.wave, assets.revision, assets.brief, assets.asset, assets.image AS asset_image,
           assets.recorded_at, final.request_id AS final_request_id, final.model AS final_model,
           final.size AS final_size,
           coalesce(final.about, assets.request_id) AS draft_request_id,
           assets.draft_image
    FROM assets
    LEFT JOIN requests AS final
           ON final.wave = assets.wave AND final.brief = assets.brief
          AND final.request_id = assets.request_id AND final.kind = 'final'
)
SELECT drawn.asset, drawn.wave, drawn.brief, briefs.text AS brief_text, drafts.prompt_id,
       prompts.text AS prompt, prompts.source AS prompt_source, prompts.template,
       nullif(prompts.model, '') AS prompt_model,
       drawn.draft_request_id, drawn.draft_image, drafts.model AS draft_model, drafts.sample,
       drafts.seed, drafts.reused AS draft_reused, draft.job_id AS draft_job_id,
       draft_job.provider_job AS draft_provider_job, draft.cost_usd AS draft_cost_usd,
       CASE WHEN verdicts.failed IS NULL THEN 'passed ' || verdicts.checks
            ELSE 'failed ' || verdicts.failed END AS screens,
       judged.score AS judge_score, judged.model AS judge_model, judged.reason AS judge_reason,
       drawn.final_request_id, final.image AS final_image, drawn.final_model, drawn.final_size,
       final.job_id AS final_job_id, final_job.provider_job AS final_provider_job,
       final.cost_usd AS final_cost_usd, drawn.asset_image, drawn.recorded_at
FROM drawn
LEFT JOIN briefs USING (wave, brief)
LEFT JOIN drafts ON drafts.wave = drawn.wave AND drafts.brief = drawn.brief
                AND drafts.request_id = drawn.draft_request_id
LEFT JOIN prompts ON prompts.wave = drawn.wave AND prompts.brief = drawn.brief
                 AND prompts.prompt_id = drafts.prompt_id
LEFT JOIN attempts AS draft ON draft.request_id = drawn.draft_request_id
                           AND draft.image = drawn.draft_image AND draft.status = 'image'
LEFT JOIN jobs AS draft_job ON draft_job.job_id = draft.job_id
LEFT JOIN verdicts ON verdicts.wave = drawn.wave AND verdicts.request_id = drawn.draft_request_id
LEFT JOIN judged ON judged.wave = drawn.wave AND judged.request_id = drawn.draft_request_id
LEFT JOIN results AS final ON final.request_id = drawn.final_request_id
LEFT JOIN jobs AS final_job ON final_job.job_id = final.job_id
QUALIFY row_number() OVER (
    PARTITION BY drawn.wave, drawn.asset ORDER BY draft.recorded_at DESC, draft.job_id
) = 1;
COMMENT ON VIEW lineage IS 'Where one delivered file comes from: brief, prompt, draft with its job, checks and scores, final with its job, and what each cost.';

CREATE VIEW imports AS
SELECT * FROM every_imports;
COMMENT ON VIEW imports IS 'Pictures that were made elsewhere and brought in as drafts of a brief: source, file, and what each is said to have cost.';

CREATE VIEW steps AS
SELECT * FROM every_steps SEMI JOIN waves USING (wave, revision);
COMMENT ON VIEW steps IS 'How many drafts each round asked for of each brief, and why: the acceptance rate believed in (90 % within rate_low and rate_high) and the chance of reaching what is wanted within the cap.';

CREATE VIEW stops AS
SELECT wave, brief, round, reason, want, accepted, tried, cap, rate, rate_low, rate_high, chance,
       prior, detail, recorded_at
FROM steps
WHERE drafts = 0
QUALIFY row_number() OVER (PARTITION BY wave, brief ORDER BY round DESC) = 1;
COMMENT ON VIEW stops IS 'Why no more drafts are made for a brief (enough, cap, rounds, low acceptance, refused), with the evidence.';

CREATE VIEW trials AS
WITH tries AS (
    SELECT request_id, count(*) AS attempts FROM attempts GROUP BY request_id
), screened AS (
    SELECT wave, request_id, bool_and(verdict = 'pass') AS passed
    FROM screens
    GROUP BY wave, request_id
)
SELECT decisions.wave, decisions.brief, decisions.tier, requests.model,
       coalesce(briefs.use_case, '') AS use_case,
       CASE WHEN decisions.request_id IN (SELECT request_id FROM every_imports) THEN '(imported)'
            ELSE coalesce(nullif(prompts.template, ''), '(' || prompts.source || ')', '(none)')
       END AS template,
       count(*) AS tried, count(*) FILTER (results.status = 'image') AS generated,
       count(*) FILTER (screened.passed) AS passed_screens,
       count(*) FILTER (decisions.decision <> 'rejected') AS passed,
       count(*) FILTER (decisions.decision = 'accepted') AS accepted,
       coalesce(sum(tries.attempts), 0)::BIGINT AS attempts
FROM decisions
JOIN requests ON requests.wave = decisions.wave AND requests.brief = decisions.brief
             AND requests.request_id = decisions.request_id AND requests.kind = decisions.tier
JOIN briefs ON briefs.wave = decisions.wave AND briefs.brief = decisions.brief
LEFT JOIN prompts ON prompts.wave = decisions.wave AND prompts.brief = decisions.brief
                 AND prompts.prompt_id = requests.prompt_id
LEFT JOIN results ON results.request_id = decisions.request_id
LEFT JOIN tries ON tries.request_id = decisions.request_id
LEFT JOIN screened ON screened.wave = decisions.wave AND screened.request_id = decisions.request_id
WHERE NOT (decision = 'rejected' AND decisions.reason LIKE 'judge failed%')
  AND coalesce(results.attempt, 1) > 0
GROUP BY ALL;
COMMENT ON VIEW trials IS 'What became of the drafts and finals of each brief, by model and template: tried, generated, past the screens, passed (good enough), accepted (chosen), and the attempts they took. What the judge gave no valid answer on is left out, and what was not sent because its words were refused before.';

CREATE VIEW acceptance AS
WITH grouped AS (
    SELECT wave, tier,
           CASE WHEN grouping(brief) = 0 THEN 'brief' WHEN grouping(template) = 0 THEN 'template'
                WHEN grouping(model) = 0 THEN 'model' WHEN grouping(use_case) = 0 THEN 'use_case'
                ELSE 'wave' END AS per,
           coalesce(brief, template, model, use_case, wave) AS key,
           sum(tried)::BIGINT AS tried, sum(passed)::BIGINT AS passed,
           sum(accepted)::BIGINT AS accepted,
           sum(greatest(attempts - tried, 0))::BIGINT AS regenerated
    FROM trials
    GROUP BY GROUPING SETS ((wave, tier), (wave, tier, brief), (wave, tier, template),
                            (wave, tier, model), (wave, tier, use_case))
)
SELECT wave, tier, per, key, tried, passed, accepted, passed / tried AS rate, regenerated,
       regenerated / tried AS regeneration
FROM grouped;
COMMENT ON VIEW acceptance IS 'Measured rates of drafts and finals: per is wave, brief, template, model or use_case and key its name. rate is the share that passed, regeneration the attempts beyond the first per picture.';
